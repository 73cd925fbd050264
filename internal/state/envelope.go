package state

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

var (
	// ErrNotFound says that there is no such record.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that the record has another revision than the write
	// was based on.
	ErrConflict = errors.New("changed by another writer")
	// ErrNewerSchema says that a newer version of the program wrote the record.
	ErrNewerSchema = errors.New("written by a newer version of nocturne")
	// ErrClosed says that the database was closed.
	ErrClosed = errors.New("state is closed")
	// ErrDamaged says that a record's bytes are not what this package writes.
	ErrDamaged = errors.New("damaged record")
)

// Migration turns the JSON of a value of one schema version into the next.
type Migration func(raw []byte) ([]byte, error)

const (
	envelopeFormat = 1
	envelopeSize   = 1 + 2 + 8
)

// envelope is a stored value with what is known about it; see the package
// comment for its bytes. stamp is a revision or a time.
type envelope struct {
	version uint16
	stamp   uint64
	raw     []byte
}

func (e envelope) encode() []byte {
	b := make([]byte, 0, envelopeSize+len(e.raw))
	b = append(b, envelopeFormat)
	b = binary.BigEndian.AppendUint16(b, e.version)
	b = binary.BigEndian.AppendUint64(b, e.stamp)
	return append(b, e.raw...)
}

func decodeEnvelope(b []byte) (envelope, error) {
	if len(b) < envelopeSize {
		return envelope{}, fmt.Errorf("%w: %d bytes", ErrDamaged, len(b))
	}
	if b[0] > envelopeFormat {
		return envelope{}, fmt.Errorf("%w: envelope format %d, this one knows %d", ErrNewerSchema, b[0], envelopeFormat)
	}
	if b[0] != envelopeFormat {
		return envelope{}, fmt.Errorf("%w: envelope format %d", ErrDamaged, b[0])
	}
	return envelope{
		version: binary.BigEndian.Uint16(b[1:]),
		stamp:   binary.BigEndian.Uint64(b[3:]),
		raw:     b[envelopeSize:],
	}, nil
}

// codec reads and writes the values of one kind.
type codec[T any] struct {
	kind       string
	version    int
	migrations []Migration
}

// newCodec panics on what only a mistake in our own code can cause.
func newCodec[T any](kind string, version int, m []Migration) codec[T] {
	if kind == "" {
		panic("state: a kind needs a name")
	}
	for _, c := range []byte(kind) {
		if c < '!' || c > '~' {
			panic(fmt.Sprintf("state: kind %q: only visible ASCII", kind))
		}
	}
	if version < 1 || version > 1<<15 || len(m) != version-1 {
		panic(fmt.Sprintf("state: kind %s: version %d needs %d migrations, has %d", kind, version, version-1, len(m)))
	}
	return codec[T]{kind: kind, version: version, migrations: m}
}

func (c codec[T]) wrap(stamp uint64, raw []byte) []byte {
	return envelope{version: uint16(c.version), stamp: stamp, raw: raw}.encode()
}

// migrate brings a value up to the current schema version.
func (c codec[T]) migrate(id string, e envelope) (raw []byte, err error) {
	if int(e.version) > c.version {
		return nil, fmt.Errorf("%s %s: %w: schema version %d, this one knows %d",
			c.kind, id, ErrNewerSchema, e.version, c.version)
	}
	if e.version < 1 {
		return nil, fmt.Errorf("%s %s: %w: schema version 0", c.kind, id, ErrDamaged)
	}
	raw = e.raw
	for i := int(e.version); i < c.version; i++ {
		if raw, err = c.migrations[i-1](raw); err != nil {
			return nil, fmt.Errorf("%s %s: migrate from schema version %d: %w", c.kind, id, i, err)
		}
	}
	return raw, nil
}

// decode reads a stored value, brought up to the current schema version.
func (c codec[T]) decode(id string, b []byte) (v T, stamp uint64, err error) {
	e, err := decodeEnvelope(b)
	if err != nil {
		return v, 0, fmt.Errorf("%s %s: %w", c.kind, id, err)
	}
	raw, err := c.migrate(id, e)
	if err != nil {
		return v, e.stamp, err
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return v, e.stamp, fmt.Errorf("%s %s: %w: %w", c.kind, id, ErrDamaged, err)
	}
	return v, e.stamp, nil
}
