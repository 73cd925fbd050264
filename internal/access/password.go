package access

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/argon2"

	"nocturne/internal/secret"
)

// Parameters of RFC 9106, section 4, second recommended option.
const (
	argonTime    = 3
	argonMemory  = 64 << 10 // KiB
	argonThreads = 4
	argonSalt    = 16
	argonKey     = 32

	minPassword = 8
	maxPassword = 1024
)

// hasher runs one hash at a time: each takes 64 MiB.
type hasher struct {
	slot    chan struct{}
	waiting *atomic.Int32
}

func newHasher() hasher { return hasher{make(chan struct{}, 1), new(atomic.Int32)} }

func (h hasher) key(ctx context.Context, password secret.Text, p phc) ([]byte, error) {
	h.waiting.Add(1)
	defer h.waiting.Add(-1)
	select {
	case h.slot <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() {
		// The last one gives the memory back; the collector by itself might
		// keep it for minutes.
		if h.waiting.Load() == 1 {
			debug.FreeOSMemory()
		}
		<-h.slot
	}()
	return argon2.IDKey([]byte(password.Reveal()), p.salt, p.time, p.memory, p.threads, uint32(len(p.key))), nil
}

// hash returns the password's hash in PHC string format.
func (h hasher) hash(ctx context.Context, password secret.Text) (string, error) {
	p := phc{time: argonTime, memory: argonMemory, threads: argonThreads, salt: make([]byte, argonSalt), key: make([]byte, argonKey)}
	_, _ = rand.Read(p.salt) // never fails since Go 1.24
	var err error
	if p.key, err = h.key(ctx, password, p); err != nil {
		return "", err
	}
	return p.String(), nil
}

// nobody has a well-formed hash that no password has, so that an unknown name
// costs the same time as a known one.
var nobody = phc{time: argonTime, memory: argonMemory, threads: argonThreads, salt: make([]byte, argonSalt), key: make([]byte, argonKey)}.String()

// verify tells whether password has that hash.
func (h hasher) verify(ctx context.Context, hash string, password secret.Text) (bool, error) {
	p, err := parsePHC(hash)
	if err != nil {
		return false, err
	}
	got, err := h.key(ctx, password, p)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, p.key) == 1, nil
}

// phc is a hash in the PHC string format of argon2id:
// $argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$HASH, base64 without padding.
type phc struct {
	time, memory uint32
	threads      uint8
	salt, key    []byte
}

func (p phc) String() string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.time, p.threads, b64(p.salt), b64(p.key))
}

// parsePHC accepts any parameters up to bounds that keep a damaged record
// from taking the machine's memory. Its errors do not show the hash.
func parsePHC(s string) (phc, error) {
	var p phc
	f := strings.Split(s, "$")
	if len(f) != 6 || f[0] != "" || f[1] != "argon2id" || f[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, fmt.Errorf("password hash: %w: not argon2id version %d", ErrInvalid, argon2.Version)
	}
	if _, err := fmt.Sscanf(f[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); err != nil {
		return p, fmt.Errorf("password hash: %w: parameters", ErrInvalid)
	}
	var err1, err2 error
	p.salt, err1 = base64.RawStdEncoding.DecodeString(f[4])
	p.key, err2 = base64.RawStdEncoding.DecodeString(f[5])
	if err1 != nil || err2 != nil || len(p.salt) < 8 || len(p.key) < 16 || len(p.key) > 64 ||
		p.time < 1 || p.time > 16 || p.memory < 8 || p.memory > 1<<20 || p.threads < 1 {
		return p, fmt.Errorf("password hash: %w: out of bounds", ErrInvalid)
	}
	return p, nil
}

func checkPassword(name string, password secret.Text) error {
	n := len(password)
	if n < minPassword || n > maxPassword {
		return fmt.Errorf("%w: a password has %d to %d characters", ErrInvalid, minPassword, maxPassword)
	}
	if strings.EqualFold(name, password.Reveal()) {
		return fmt.Errorf("%w: the password must not be the name", ErrInvalid)
	}
	return nil
}
