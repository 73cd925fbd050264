package cloudconn

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/gophercloud/gophercloud/v2"
)

// What callers tell apart.
var (
	ErrCredential = errors.New("the cloud refuses the credential")
	ErrForbidden  = errors.New("the cloud does not allow this to the credential")
	ErrNoEndpoint = errors.New("the cloud's catalog has no such endpoint")
)

// Explain says what was being done, and instead of a whole answer what the
// cloud said in it.
func Explain(doing string, err error) error {
	if noEndpoint(err) {
		return fmt.Errorf("%s: %w", doing, ErrNoEndpoint)
	}
	re, ok := errors.AsType[gophercloud.ErrUnexpectedResponseCode](err)
	if ue, unable := errors.AsType[*gophercloud.ErrUnableToReauthenticate](err); unable {
		// The login after the one that expired is what failed.
		if re, ok = errors.AsType[gophercloud.ErrUnexpectedResponseCode](ue.ErrReauth); !ok {
			return fmt.Errorf("%s: log in again: %w", doing, ue.ErrReauth)
		}
	}
	if !ok {
		return fmt.Errorf("%s: %w", doing, err)
	}
	switch re.Actual {
	case http.StatusUnauthorized:
		return fmt.Errorf("%s: %w", doing, ErrCredential)
	case http.StatusForbidden:
		return fmt.Errorf("%s: %w", doing, ErrForbidden)
	}
	return fmt.Errorf("%s: the cloud answers %d %s%s", doing, re.Actual, http.StatusText(re.Actual), said(re.Body))
}

func noEndpoint(err error) bool {
	if _, ok := errors.AsType[*gophercloud.ErrEndpointNotFound](err); ok {
		return true
	}
	_, ok := errors.AsType[gophercloud.ErrEndpointNotFound](err)
	return ok
}

// said finds the message in an error document, {"kind": {"message": "..."}}.
func said(body []byte) string {
	var doc map[string]json.RawMessage
	if json.Unmarshal(body, &doc) != nil {
		return ""
	}
	for _, raw := range doc {
		var inner struct{ Message string }
		if json.Unmarshal(raw, &inner) == nil && inner.Message != "" {
			return ": " + inner.Message[:min(len(inner.Message), 200)]
		}
	}
	return ""
}
