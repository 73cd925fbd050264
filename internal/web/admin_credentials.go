package web

import (
	"cmp"
	"net/http"
	"slices"

	"nocturne/internal/access"
	"nocturne/internal/secret"
	"nocturne/views/admin"
	"nocturne/views/ui"
)

// field is one input of a credential's form. json is its name in the sealed
// record, which is the name that the connection's package reads.
type field struct {
	name, json, label, hint string
	required, secret        bool
}

// credentialForms are the fields of each kind: what snmpconn, sshconn and
// cloudconn call Credential.
var credentialForms = map[string][]field{
	"snmp": {
		{name: "version", json: "version", label: "Version", hint: "2c or 3", required: true},
		{name: "community", json: "community", label: "Community", hint: "for versions 1 and 2c", secret: true},
		{name: "user", json: "user", label: "User", hint: "for version 3, as the next five"},
		{name: "auth_protocol", json: "authProtocol", label: "Authentication", hint: "MD5, SHA, SHA224, SHA256, SHA384, SHA512"},
		{name: "auth_passphrase", json: "authPassphrase", label: "Authentication passphrase", secret: true},
		{name: "priv_protocol", json: "privProtocol", label: "Privacy", hint: "DES, AES, AES192, AES256"},
		{name: "priv_passphrase", json: "privPassphrase", label: "Privacy passphrase", secret: true},
		{name: "context", json: "context", label: "Context"},
	},
	"ssh": {
		{name: "user", json: "user", label: "User", required: true},
		{name: "private_key", json: "privateKey", label: "Private key, in PEM or OpenSSH's format", required: true, secret: true},
		{name: "passphrase", json: "passphrase", label: "Passphrase of the key", secret: true},
	},
	"openstack": {
		{name: "auth_url", json: "authURL", label: "Keystone's address", hint: "https://cloud.example:5000/v3", required: true},
		{name: "username", json: "username", label: "User"},
		{name: "password", json: "password", label: "Password", secret: true},
		{name: "project", json: "project", label: "Project"},
		{name: "user_domain", json: "userDomain", label: "User's domain"},
		{name: "project_domain", json: "projectDomain", label: "Project's domain"},
		{name: "region", json: "region", label: "Region"},
		{name: "application_credential_id", json: "applicationCredentialID", label: "Application credential", hint: "instead of user and password"},
		{name: "application_credential_secret", json: "applicationCredentialSecret", label: "Its secret", secret: true},
	},
}

func (s *Server) credentials(w http.ResponseWriter, r *http.Request) error {
	return s.credentialsPage(w, r, http.StatusOK, cmp.Or(r.URL.Query().Get("kind"), "snmp"), "")
}

func (s *Server) credentialsPage(w http.ResponseWriter, r *http.Request, status int, kind, fault string) error {
	if _, ok := credentialForms[kind]; !ok {
		return notFound{"kind of credential " + kind}
	}
	sealed, err := s.Access.Vault().List()
	if err != nil {
		return err
	}
	uses := map[string]int{}
	for _, t := range s.Collector.Status() {
		uses[t.Target.Credential]++
	}
	m := admin.Credentials{Page: s.page(r, "Credentials"), Kind: kind, Fault: fault}
	for _, c := range sealed {
		m.Rows = append(m.Rows, admin.Credential{Name: c.Name, Kind: c.Kind, By: c.By, Updated: c.Updated, UsedBy: uses[c.Name]})
	}
	m.Fields = append(m.Fields, ui.Field{Name: "name", Label: "Name", Value: r.PostFormValue("name"), Hint: "as targets call it", Required: true})
	for _, f := range credentialForms[kind] {
		in := ui.Field{Name: f.name, Label: f.label, Hint: f.hint, Required: f.required}
		if !f.secret { // a secret that was typed never comes back
			in.Value = r.PostFormValue(f.name)
		}
		m.Fields = append(m.Fields, in)
	}
	k, err := s.Access.Vault().Key()
	if err != nil {
		return err
	}
	m.Key = admin.MasterKey{ID: k.ID, Source: k.Source, Since: k.Since, Others: k.Others, To: k.To, Fault: k.Fault, Asks: k.Asks}
	s.render(w, r, status, admin.CredentialsPage(m))
	return nil
}

// rotateKey keeps the retired key: one click must not cost the backups.
func (s *Server) rotateKey(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.rotate(r.Context(), access.RotateOptions{Keep: true}); err != nil {
		return err
	}
	return done(w, r, "/admin/credentials#master-key")
}

func (s *Server) putCredential(w http.ResponseWriter, r *http.Request) error {
	kind, name := r.PostFormValue("kind"), r.PostFormValue("name")
	form, ok := credentialForms[kind]
	if !ok {
		return s.credentialsPage(w, r, http.StatusBadRequest, "snmp", "A credential is of kind snmp, ssh or openstack.")
	}
	value := map[string]secret.Text{}
	for _, f := range form {
		v := r.PostFormValue(f.name)
		if f.required && v == "" {
			return s.credentialsPage(w, r, http.StatusBadRequest, kind, f.label+" is missing.")
		}
		if v != "" {
			value[f.json] = secret.Text(v)
		}
	}
	if version := value["version"].Reveal(); kind == "snmp" && !slices.Contains([]string{"1", "2c", "3"}, version) {
		return s.credentialsPage(w, r, http.StatusBadRequest, kind, "The version is 1, 2c or 3.")
	}
	err := s.Access.Vault().Put(r.Context(), actorOf(r.Context()), name, kind, value)
	if fault, ok := formFault(err); ok {
		return s.credentialsPage(w, r, http.StatusBadRequest, kind, cmp.Or(fault, "The credential was refused."))
	}
	if err != nil {
		return err
	}
	return done(w, r, "/admin/credentials")
}

func (s *Server) deleteCredential(w http.ResponseWriter, r *http.Request) error {
	if err := s.Access.Vault().Delete(r.Context(), actorOf(r.Context()), r.PathValue("name")); err != nil {
		return err
	}
	return done(w, r, "/admin/credentials")
}
