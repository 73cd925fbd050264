package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestVersionOf(t *testing.T) {
	for tag, want := range map[string]string{
		"v0.1.0-0-gabcdef0": "0.1.0", "v1.2.3-7-gabcdef0": "1.2.3+7.gabcdef0", "v0.2.0-rc.1-0-gabcdef0": "0.2.0~rc.1", "v0.2.0-rc.1-2-gabcdef0": "0.2.0~rc.1+2.gabcdef0",
	} {
		got, err := versionOf(tag, false)
		if err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", tag, got, err, want)
		}
		dirty, err := versionOf(tag, true)
		if err != nil || dirty == got || !strings.HasSuffix(dirty, ".gabcdef0.dirty") {
			t.Errorf("%s with changes: %q, %v", tag, dirty, err)
		}
		for _, v := range []string{got, dirty} {
			if err := checkVersion(v); err != nil {
				t.Error(err)
			}
		}
	}
	for _, tag := range []string{"v1-0-gabcdef0", "release-0-gabcdef0", "v1.2.3", "v1.2.3-0-gxyz", ""} {
		if v, err := versionOf(tag, false); err == nil {
			t.Errorf("%q became %q", tag, v)
		}
	}
	for _, v := range []string{"", "v1", "1.0-1", "1:2", "1 2", "1..2", "1/2", "1\n2"} {
		if checkVersion(v) == nil {
			t.Errorf("%q counts as a version", v)
		}
	}
}

const mit = `MIT License

Copyright (c) 2026 Somebody

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
`

// gpl is the notice that stands for the whole licence.
const gpl = `This program is free software: you can redistribute it and/or modify
it under the terms of the GNU Affero General Public License as published by
the Free Software Foundation, either version 3 of the License, or
(at your option) any later version.
`

func TestLicences(t *testing.T) {
	f := func(files map[string]string, want, fault string) {
		t.Helper()
		dir := t.TempDir()
		for name, body := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		p := part{name: "example.org/x"}
		err := p.license(dir)
		if fault != "" {
			if err == nil || !strings.Contains(err.Error(), fault) || !strings.Contains(err.Error(), p.name) {
				t.Errorf("%v: %v, want %q", files, err, fault)
			}
			return
		}
		if got := strings.Join(p.licences, " "); err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	f(map[string]string{"LICENSE": mit, "main.go": gpl}, "MIT", "")
	f(map[string]string{"licence.txt": mit, "NOTICE": "by somebody"}, "MIT", "")
	f(map[string]string{"COPYING": gpl}, "", "AGPL")
	f(map[string]string{"LICENSE": mit, "LICENSE-2.md": gpl}, "", "AGPL")
	f(map[string]string{"LICENSE": "Do what I say, and only on Tuesdays, or else."}, "", "of a known licence")
	f(map[string]string{"README": mit}, "", "there is none")
	f(nil, "", "there is none")
}

// TestOwnLicence holds what the packages say against the repository's licence.
func TestOwnLicence(t *testing.T) {
	p := part{name: "nocturne"}
	if err := p.license(filepath.Join("..", "..")); err != nil || strings.Join(p.licences, " ") != "Apache-2.0" {
		t.Errorf("%v, %v", p.licences, err)
	}
}
