package snmp

import (
	"os"
	"testing"

	"nocturne/internal/snmpconn/snmptest"
)

func TestMain(m *testing.M) { os.Exit(snmptest.Main(m)) }
