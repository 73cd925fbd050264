package disk_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nocturne/internal/backup"
	"nocturne/internal/backup/disk"
	"nocturne/internal/backup/storetest"
)

func TestStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	storetest.Run(t, func() backup.Store {
		s, err := disk.Make(dir)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
	if left, _ := filepath.Glob(filepath.Join(dir, "*", "*.part")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Open(file); err == nil || !strings.Contains(err.Error(), "not a folder") {
		t.Errorf("a file: %v", err)
	}
}
