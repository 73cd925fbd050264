package forward

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"nocturne/internal/secret"
)

// Credential is a way in: a user and password, a bearer token, a client
// certificate with its key (PEM), or several of them.
type Credential struct {
	Username    string
	Password    secret.Text
	Bearer      secret.Text
	Certificate string
	Key         secret.Text
}

// verdict is what an answer means for the samples of a request.
type verdict int

const (
	accepted  verdict = iota
	refused           // for what it holds
	later             // to be tried again
	unwelcome         // to be tried again when the address or the credential was mended
	protocol1         // to be sent again by protocol 1
)

type answer struct {
	verdict verdict
	after   time.Duration // the receiver's wish, 0 for none
	partial bool          // refused, but what is good of it was taken: written samples
	written int
	err     error // why it was not accepted
}

// client posts to one receiver.
type client struct {
	to   Receiver
	http *http.Client
}

// said is how much of an error's body is kept.
const said = 256

func newClient(to Receiver) (*client, error) {
	conf := &tls.Config{ServerName: to.ServerName, InsecureSkipVerify: to.InsecureSkipVerify, MinVersion: tls.VersionTLS12}
	if to.CAFile != "" {
		pem, err := os.ReadFile(to.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read CA: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read CA %s: no certificate in it", to.CAFile)
		}
	}
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		c, err := to.credential()
		if err != nil || c.Certificate == "" {
			return new(tls.Certificate), err
		}
		pair, err := tls.X509KeyPair([]byte(c.Certificate), []byte(c.Key.Reveal()))
		return &pair, err
	}
	return &client{to: to, http: &http.Client{
		Timeout: to.Timeout,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: to.Shards, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 10 * time.Second,
		},
		// A redirected POST becomes a GET; the address is to be mended.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (c *client) post(ctx context.Context, protocol string, attempt, samples int, body []byte) answer {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.to.URL, bytes.NewReader(body))
	if err != nil {
		return answer{verdict: unwelcome, err: errors.New("the address is none")}
	}
	if err := c.dress(req, protocol, attempt); err != nil {
		return answer{verdict: unwelcome, err: err}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		// The address may hold a token.
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return answer{verdict: later, err: fmt.Errorf("post samples: %w", err)}
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, said)) // only for people
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)         // so that the connection can be kept
	return judge(resp, protocol, samples, strings.TrimSpace(string(text)))
}

func (c *client) dress(req *http.Request, protocol string, attempt int) error {
	for name, value := range c.to.Headers {
		req.Header.Set(name, value.Reveal())
	}
	req.Header.Set("User-Agent", "nocturne")
	req.Header.Set("Content-Encoding", "snappy")
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	if protocol == Protocol2 {
		req.Header.Set("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
		req.Header.Set("X-Prometheus-Remote-Write-Version", "2.0.0")
	}
	if attempt > 0 {
		req.Header.Set("Retry-Attempt", strconv.Itoa(attempt))
	}
	cred, err := c.to.credential()
	if err != nil {
		return err
	}
	if cred.Username != "" || cred.Password != "" {
		req.SetBasicAuth(cred.Username, cred.Password.Reveal())
	}
	if cred.Bearer != "" {
		req.Header.Set("Authorization", "Bearer "+cred.Bearer.Reveal())
	}
	return nil
}

// judge reads an answer; see the package comment for the classes.
func judge(resp *http.Response, protocol string, samples int, text string) answer {
	const writtenHeader = "X-Prometheus-Remote-Write-Samples-Written"
	written, confirmed := 0, false
	if h := resp.Header.Get(writtenHeader); h != "" {
		n, err := strconv.Atoi(h)
		written, confirmed = n, err == nil && n >= 0
	}
	fail := errors.New(strings.TrimSuffix("answered "+resp.Status+": "+text, ": "))
	code := resp.StatusCode
	switch {
	case code/100 == 2 && protocol == Protocol2 && !confirmed:
		return answer{verdict: protocol1, err: fmt.Errorf("answered %s without %s: does not understand protocol 2", resp.Status, writtenHeader)}
	case code/100 == 2 && protocol == Protocol2 && written < samples:
		return answer{verdict: refused, partial: true, written: written, err: fmt.Errorf("answered %s but took only %d of %d samples", resp.Status, written, samples)}
	case code/100 == 2:
		return answer{}
	case code == http.StatusUnsupportedMediaType && protocol == Protocol2:
		return answer{verdict: protocol1, err: fail}
	case code/100 == 5, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
		return answer{verdict: later, after: retryAfter(resp.Header.Get("Retry-After"), time.Now()), err: fail}
	case code/100 == 3, code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusNotFound,
		code == http.StatusMethodNotAllowed, code == http.StatusProxyAuthRequired:
		return answer{verdict: unwelcome, err: fail}
	}
	if confirmed && protocol == Protocol2 && code != http.StatusRequestEntityTooLarge {
		return answer{verdict: refused, partial: true, written: min(written, samples), err: fail}
	}
	return answer{verdict: refused, err: fail}
}

// longestWish bounds what a receiver may ask for by Retry-After.
const longestWish = 5 * time.Minute

// retryAfter reads the header: seconds or a date (RFC 9110, 10.2.3).
func retryAfter(h string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(h); err == nil {
		return max(0, min(time.Duration(min(n, 1<<30))*time.Second, longestWish))
	}
	at, err := http.ParseTime(h)
	if err != nil {
		return 0
	}
	return max(0, min(at.Sub(now), longestWish))
}

// credential opens the receiver's, or none.
func (r *Receiver) credential() (Credential, error) {
	if r.Credential == nil {
		return Credential{}, nil
	}
	return r.Credential()
}

func (r Receiver) withDefaults() Receiver {
	r.Protocol = cmp.Or(r.Protocol, Protocol1)
	r.Timeout = cmp.Or(r.Timeout, 30*time.Second)
	r.Shards = cmp.Or(r.Shards, 4)
	r.MaxSamples = cmp.Or(r.MaxSamples, 5000)
	return r
}
