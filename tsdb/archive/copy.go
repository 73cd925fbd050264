package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"nocturne/tsdb/folder"
)

// copyPiece is what is copied between two looks at the context.
const copyPiece = 1 << 20

// copySynced copies a file by way of a temporary name and returns the SHA-256
// of what was read. The folder of to is made, but not synced.
func copySynced(ctx context.Context, from, to string, step func(int64)) (sum string, err error) {
	in, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return "", err
	}
	out, err := os.Create(to + ".tmp")
	if err != nil {
		return "", err
	}
	h := sha256.New()
	err = pour(ctx, io.MultiWriter(out, h), in, step)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return "", err
	}
	return text(h), os.Rename(to+".tmp", to)
}

// sumFile returns the SHA-256 of a file as the disk has it: what the kernel
// remembers of the file is dropped first.
func sumFile(ctx context.Context, path string, step func(int64)) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	// Advice alone; a file system that does not follow it is read from memory.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	h := sha256.New()
	if err := pour(ctx, h, f, step); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return text(h), nil
}

func pour(ctx context.Context, to io.Writer, from io.Reader, step func(int64)) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(to, from, copyPiece)
		step(n)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func text(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

func writeSynced(path string, data []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// syncFolders syncs every folder under dir, and dir.
func syncFolders(dir string) error {
	return filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return folder.Sync(path)
	})
}
