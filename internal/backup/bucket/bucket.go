// Package bucket is a backup's store in a bucket of an S3-compatible service.
// An object appears whole or not at all, so nothing is renamed there. Nothing
// keeps two who write under the same prefix apart.
package bucket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"nocturne/internal/backup"
	"nocturne/internal/secret"
)

// Credential is the key that lets us in.
type Credential struct {
	AccessKey string      `json:"accessKey"`
	SecretKey secret.Text `json:"secretKey"`
}

// Options say which bucket.
type Options struct {
	Endpoint string // host or host:port
	Plain    bool   // HTTP, without TLS
	Region   string
	Bucket   string
	Prefix   string // before all names; may be empty
	CA       []byte // PEM; empty: the system's
	Credential
}

// partSize is what is sent at once of a large object, and held in memory.
const partSize = 16 << 20

// Store is a bucket, or what is under a prefix of one.
type Store struct {
	o    Options
	core minio.Core
	http *http.Transport
}

// Open asks for the bucket, so that a wrong key or name is told before anything
// is sent.
func Open(ctx context.Context, o Options) (*Store, error) {
	o.Prefix = strings.Trim(o.Prefix, "/")
	s := &Store{o: o}
	var err error
	if s.http, err = minio.DefaultTransport(!o.Plain); err != nil {
		return nil, fmt.Errorf("open %s: %w", s, err)
	}
	if len(o.CA) > 0 {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(o.CA) {
			return nil, fmt.Errorf("open %s: its CA holds no certificate", s)
		}
		s.http.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	client, err := minio.New(o.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(o.AccessKey, o.SecretKey.Reveal(), ""), Secure: !o.Plain, Region: o.Region, Transport: s.http,
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", s, err)
	}
	s.core = minio.Core{Client: client}
	if _, err := s.List(ctx, "generations"); err != nil {
		s.http.CloseIdleConnections()
		return nil, fmt.Errorf("open %s: %w", s, err)
	}
	return s, nil
}

// Close ends idle connections.
func (s *Store) Close() error {
	s.http.CloseIdleConnections()
	return nil
}

func (s *Store) String() string {
	return "s3://" + path.Join(s.o.Bucket, s.o.Prefix) + " at " + s.o.Endpoint
}

func (s *Store) key(name string) string { return path.Join(s.o.Prefix, name) }

// explain says in plain words what a service says in its codes.
func (s *Store) explain(err error) error {
	if err == nil {
		return nil
	}
	switch r := minio.ToErrorResponse(err); {
	case r.Code == "NoSuchKey":
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case r.Code == "NoSuchBucket":
		return fmt.Errorf("there is no bucket %q: %w", s.o.Bucket, err)
	case r.Code == "SignatureDoesNotMatch":
		return fmt.Errorf("the secret key is not that of access key %s: %w", s.o.AccessKey, err)
	case r.StatusCode == http.StatusForbidden:
		return fmt.Errorf("access key %s is refused: %w", s.o.AccessKey, err)
	}
	return err
}

// Put stores an object, a large one in parts.
func (s *Store) Put(ctx context.Context, name string, size int64, r io.Reader) error {
	_, err := s.core.Client.PutObject(ctx, s.o.Bucket, s.key(name), r, size, minio.PutObjectOptions{PartSize: partSize})
	return s.explain(err)
}

// Get reads an object.
func (s *Store) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	body, _, _, err := s.core.GetObject(ctx, s.o.Bucket, s.key(name), minio.GetObjectOptions{})
	if err != nil {
		return nil, s.explain(err)
	}
	return body, nil
}

// List returns what is under a folder's name.
func (s *Store) List(ctx context.Context, folder string) ([]backup.Object, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the listing where it is left early
	var all []backup.Object
	for o := range s.core.Client.ListObjects(ctx, s.o.Bucket, minio.ListObjectsOptions{Prefix: s.key(folder) + "/", Recursive: true}) {
		if o.Err != nil {
			return nil, s.explain(o.Err)
		}
		name := strings.TrimPrefix(strings.TrimPrefix(o.Key, s.o.Prefix), "/")
		all = append(all, backup.Object{Name: name, Size: o.Size})
	}
	slices.SortFunc(all, func(a, b backup.Object) int { return strings.Compare(a.Name, b.Name) })
	return all, ctx.Err()
}

// Delete removes an object.
func (s *Store) Delete(ctx context.Context, name string) error {
	err := s.explain(s.core.Client.RemoveObject(ctx, s.o.Bucket, s.key(name), minio.RemoveObjectOptions{}))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
