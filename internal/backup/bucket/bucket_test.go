package bucket_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"nocturne/internal/backup"
	"nocturne/internal/backup/bucket"
	"nocturne/internal/backup/storetest"
	"nocturne/internal/need"
	"nocturne/internal/secret"
)

const (
	accessKey = "the-access-key"
	secretKey = "PLANTED-SECRET-of-the-bucket"
)

func gateway(t *testing.T, buckets ...string) (endpoint string) {
	t.Helper()
	return storetest.Gateway(t, need.Versitygw(t), accessKey, secretKey, buckets...)
}

func options(endpoint string) bucket.Options {
	return bucket.Options{Endpoint: endpoint, Plain: true, Bucket: "backups", Prefix: "site/one",
		Credential: bucket.Credential{AccessKey: accessKey, SecretKey: secretKey}}
}

func TestStore(t *testing.T) {
	o := options(gateway(t, "backups"))
	storetest.Run(t, func() backup.Store {
		s, err := bucket.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// TestFaults: a wrong secret, a key that nobody knows, a bucket that is not
// there, nobody who listens. None tells the secret.
func TestFaults(t *testing.T) {
	endpoint := gateway(t, "backups")
	f := func(what string, change func(*bucket.Options), want string) {
		t.Helper()
		o := options(endpoint)
		change(&o)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := bucket.Open(ctx, o)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), o.Bucket) || strings.Contains(err.Error(), "PLANTED") {
			t.Errorf("%s: %v", what, err)
		}
	}
	f("a wrong secret", func(o *bucket.Options) { o.SecretKey = secret.Text("PLANTED-OTHER") }, "the secret key is not that of access key the-access-key")
	f("an unknown key", func(o *bucket.Options) { o.AccessKey = "nobody" }, "access key")
	f("no such bucket", func(o *bucket.Options) { o.Bucket = "others" }, `there is no bucket "others"`)
	f("nobody there", func(o *bucket.Options) { o.Endpoint = "127.0.0.1:1" }, "connection refused")
	f("no certificate", func(o *bucket.Options) { o.Plain, o.CA = false, []byte("x") }, "holds no certificate")
}
