package need

import "testing"

var versitygw = peer{"versitygw", "github.com/versity/versitygw", "v1.8.0", "github.com/versity/versitygw/cmd/versitygw", "netgo"}

// Versitygw returns the path of an S3 service over a folder. Its first build
// takes about a minute.
func Versitygw(t testing.TB) string { return versitygw.path(t) }
