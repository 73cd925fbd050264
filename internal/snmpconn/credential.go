package snmpconn

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gosnmp/gosnmp"

	"nocturne/internal/secret"
)

// Credential is what an agent wants to see.
type Credential struct {
	// Version is 1, 2c or 3; empty means 2c, or 3 when there is a User.
	Version string
	// Community is for versions 1 and 2c.
	Community secret.Text
	// User and what follows is for version 3, the User-based Security Model
	// (RFC 3414).
	User string
	// AuthProtocol is MD5, SHA, SHA224, SHA256, SHA384, SHA512 or empty for
	// messages that are not signed.
	AuthProtocol   string
	AuthPassphrase secret.Text
	// PrivProtocol is DES, AES, AES192, AES256 (key extension of Blumenthal),
	// AES192C, AES256C (of Reeder, as Cisco does) or empty for plain messages.
	PrivProtocol   string
	PrivPassphrase secret.Text
	// Context is the SNMPv3 context's name.
	Context string
}

// minPassphrase is what RFC 3414, 11.2, demands.
const minPassphrase = 8

var (
	authProtocols = map[string]gosnmp.SnmpV3AuthProtocol{
		"MD5": gosnmp.MD5, "SHA": gosnmp.SHA, "SHA224": gosnmp.SHA224,
		"SHA256": gosnmp.SHA256, "SHA384": gosnmp.SHA384, "SHA512": gosnmp.SHA512,
	}
	privProtocols = map[string]gosnmp.SnmpV3PrivProtocol{
		"DES": gosnmp.DES, "AES": gosnmp.AES, "AES192": gosnmp.AES192,
		"AES256": gosnmp.AES256, "AES192C": gosnmp.AES192C, "AES256C": gosnmp.AES256C,
	}
)

// Validate says everything that is wrong with the credential.
func (c Credential) Validate() error {
	switch c.version() {
	case "1", "2c":
		if c.Community == "" {
			return fmt.Errorf("community is missing for version %s", c.version())
		}
		if len(c.Community) > 127 { // gosnmp writes its length in one byte
			return errors.New("community is longer than 127 bytes")
		}
		return nil
	case "3":
		return c.validateUser()
	}
	return fmt.Errorf("version %q is none of 1, 2c, 3", c.Version)
}

func (c Credential) validateUser() error {
	var errs []error
	if c.User == "" {
		errs = append(errs, errors.New("user is missing for version 3"))
	}
	if c.AuthProtocol != "" {
		if _, ok := authProtocols[protocol(c.AuthProtocol)]; !ok {
			errs = append(errs, fmt.Errorf("authProtocol %q is none of %s", c.AuthProtocol, names(authProtocols)))
		}
		if len(c.AuthPassphrase) < minPassphrase {
			errs = append(errs, fmt.Errorf("authPassphrase is shorter than %d characters", minPassphrase))
		}
	}
	if c.PrivProtocol != "" {
		if _, ok := privProtocols[protocol(c.PrivProtocol)]; !ok {
			errs = append(errs, fmt.Errorf("privProtocol %q is none of %s", c.PrivProtocol, names(privProtocols)))
		}
		if len(c.PrivPassphrase) < minPassphrase {
			errs = append(errs, fmt.Errorf("privPassphrase is shorter than %d characters", minPassphrase))
		}
		if c.AuthProtocol == "" {
			errs = append(errs, errors.New("privProtocol needs an authProtocol"))
		}
	}
	return errors.Join(errs...)
}

func (c Credential) version() string {
	if c.Version != "" {
		return strings.TrimPrefix(c.Version, "v")
	}
	if c.User != "" {
		return "3"
	}
	return "2c"
}

// protocol takes "sha-256", "SHA256" and "AES128" alike.
func protocol(s string) string {
	s = strings.ToUpper(strings.NewReplacer("-", "", "_", "").Replace(s))
	switch s {
	case "SHA1":
		return "SHA"
	case "AES128":
		return "AES"
	}
	return s
}

func names[T any](m map[string]T) string {
	return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}

// configure sets what c means on g. usm is the state kept for version 3.
func (c Credential) configure(g *gosnmp.GoSNMP, usm *gosnmp.UsmSecurityParameters) {
	switch c.version() {
	case "1":
		g.Version, g.Community = gosnmp.Version1, c.Community.Reveal()
	case "2c":
		g.Version, g.Community = gosnmp.Version2c, c.Community.Reveal()
	case "3":
		g.Version, g.ContextName = gosnmp.Version3, c.Context
		g.SecurityModel, g.SecurityParameters = gosnmp.UserSecurityModel, usm
		g.MsgFlags = gosnmp.NoAuthNoPriv
		if c.AuthProtocol != "" {
			g.MsgFlags = gosnmp.AuthNoPriv
		}
		if c.PrivProtocol != "" {
			g.MsgFlags = gosnmp.AuthPriv
		}
	}
}

// usm makes the state that is kept of an SNMPv3 engine, empty at first.
func (c Credential) usm() *gosnmp.UsmSecurityParameters {
	p := &gosnmp.UsmSecurityParameters{
		UserName:               c.User,
		AuthenticationProtocol: gosnmp.NoAuth,
		PrivacyProtocol:        gosnmp.NoPriv,
	}
	if a, ok := authProtocols[protocol(c.AuthProtocol)]; ok {
		p.AuthenticationProtocol, p.AuthenticationPassphrase = a, c.AuthPassphrase.Reveal()
	}
	if a, ok := privProtocols[protocol(c.PrivProtocol)]; ok {
		p.PrivacyProtocol, p.PrivacyPassphrase = a, c.PrivPassphrase.Reveal()
	}
	return p
}
