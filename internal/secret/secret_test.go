package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

type credential struct {
	User string `json:"user"`
	Pass Text   `json:"pass,omitempty"`
	More []Text
	Ptr  *Text
}

func TestNeverPrinted(t *testing.T) {
	c := credential{User: "ops", Pass: "hunter2", More: []Text{"hunter2"}, Ptr: new(Text("hunter2"))}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "c", c, "p", c.Pass, "m", c.More)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "c", c, "p", c.Pass, "m", c.More)
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		fmt.Sprint(c), fmt.Sprintf("%+v %#v %s %q %x %d", c, c, c.Pass, c.Pass, c.Pass, c.Pass),
		log.String(), string(j), fmt.Sprint(c.Ptr), fmt.Errorf("login: %v", c.Pass).Error(),
	} {
		if strings.Contains(s, "hunter2") || strings.Contains(s, "68756e746572") {
			t.Errorf("secret printed: %s", s)
		}
	}
}

func TestMarshalReveals(t *testing.T) {
	in := credential{User: "ops", Pass: "hunter2", More: []Text{"a", "b"}, Ptr: new(Text("c"))}
	b, err := Marshal(&in)
	if err != nil {
		t.Fatal(err)
	}
	var out credential
	if err := Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	if out.Pass != in.Pass || out.User != in.User || out.More[1] != "b" || *out.Ptr != "c" {
		t.Errorf("round trip of %s lost something", b)
	}
}
