// Package remotequery asks a store that speaks Prometheus' HTTP query API
// (https://prometheus.io/docs/prometheus/latest/querying/api/) and answers in
// the types of the PromQL engine.
//
// It trusts the store's values and nothing else: an answer is bounded in time,
// bytes and samples, and one that is cut short, of the wrong type, out of
// order or doubled is an error. It never makes an empty answer out of a
// failure. Native histograms are refused.
package remotequery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/annotations"
)

var (
	requestSeconds  = metrics.GetOrCreateHistogram(`nocturne_tsdb_remote_request_duration_seconds`)
	requestFailures = metrics.GetOrCreateCounter(`nocturne_tsdb_remote_request_failures_total`)
)

// Options say which store is asked and how much it may answer. The zero value
// of a field other than URL means its default.
type Options struct {
	// URL is what stands before /api/v1/: http or https, without a user.
	URL string
	// Header gives the headers that let us in, such as Authorization. It is
	// called for each request; nil sends none.
	Header     func() (http.Header, error)
	Timeout    time.Duration // of one request (30 s)
	MaxBytes   int64         // of one answer, unpacked (64 MiB)
	MaxSamples int           // of one answer (10 million)
}

// Client asks one store. It is safe for concurrent use.
type Client struct {
	base       *url.URL
	header     func() (http.Header, error)
	timeout    time.Duration
	maxBytes   int64
	maxSamples int
	http       *http.Client
}

// New checks the options. It connects to nothing.
func New(o Options) (*Client, error) {
	base, err := url.Parse(o.URL)
	switch {
	case err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https"):
		return nil, errors.New("remote store: the address is no http or https URL")
	case base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return nil, errors.New("remote store: the address must have no user, query or fragment")
	case o.Timeout < 0 || o.MaxBytes < 0 || o.MaxSamples < 0:
		return nil, errors.New("remote store: negative option")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 16
	return &Client{
		base:       base,
		header:     o.Header,
		timeout:    cmp.Or(o.Timeout, 30*time.Second),
		maxBytes:   cmp.Or(o.MaxBytes, 64<<20),
		maxSamples: cmp.Or(o.MaxSamples, 10_000_000),
		http: &http.Client{
			Transport: transport,
			// Headers that let us in are for this address alone.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// URL is the address that is asked.
func (c *Client) URL() string { return c.base.String() }

// Close closes the connections that are not in use.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Query evaluates an expression at one time. A lookback of 0 is the store's
// own. The value is a promql.Vector, Matrix, Scalar or String.
func (c *Client) Query(ctx context.Context, expr string, t time.Time, lookback time.Duration) (parser.Value, annotations.Annotations, error) {
	form := url.Values{"query": {expr}, "time": {stamp(t)}}
	c.bounds(form, lookback)
	var out queryData
	notes, err := c.ask(ctx, http.MethodPost, form, &out, "query")
	if err != nil {
		return nil, notes, err
	}
	v, err := out.value(c.maxSamples)
	return v, notes, c.told("query", err)
}

// QueryRange evaluates an expression at from, from+step, ... up to to. The
// value is a promql.Matrix in the order of its labels.
func (c *Client) QueryRange(ctx context.Context, expr string, from, to time.Time, step, lookback time.Duration) (parser.Value, annotations.Annotations, error) {
	form := url.Values{"query": {expr}, "start": {stamp(from)}, "end": {stamp(to)}, "step": {seconds(step)}}
	c.bounds(form, lookback)
	var out queryData
	notes, err := c.ask(ctx, http.MethodPost, form, &out, "query_range")
	if err != nil {
		return nil, notes, err
	}
	m, err := out.grid(c.maxSamples, from.UnixMilli(), to.UnixMilli())
	return m, notes, c.told("query_range", err)
}

// bounds sends our timeout along, so that the store stops when we do, and the
// lookback under both of its names: Prometheus' and VictoriaMetrics'.
func (c *Client) bounds(form url.Values, lookback time.Duration) {
	form.Set("timeout", seconds(c.timeout))
	if lookback > 0 {
		form.Set("lookback_delta", seconds(lookback))
		form.Set("max_lookback", seconds(lookback))
	}
}

// Series lists the label sets that match any of the matcher sets and have
// samples between from and to. A limit of 0 is none.
func (c *Client) Series(ctx context.Context, matchers [][]*labels.Matcher, from, to time.Time, limit int) ([]labels.Labels, annotations.Annotations, error) {
	var out []metric
	notes, err := c.ask(ctx, http.MethodPost, selection(matchers, from, to, limit), &out, "series")
	if err != nil {
		return nil, notes, err
	}
	found := make([]labels.Labels, len(out))
	for i, m := range out {
		found[i] = m.labels
	}
	return found, notes, nil
}

// LabelNames lists the label names of the series that match any of the
// matcher sets, of all series without one.
func (c *Client) LabelNames(ctx context.Context, matchers [][]*labels.Matcher, from, to time.Time, limit int) ([]string, annotations.Annotations, error) {
	out := []string{}
	notes, err := c.ask(ctx, http.MethodPost, selection(matchers, from, to, limit), &out, "labels")
	return out, notes, err
}

// LabelValues lists the values that a label has in the series that match any
// of the matcher sets.
func (c *Client) LabelValues(ctx context.Context, name string, matchers [][]*labels.Matcher, from, to time.Time, limit int) ([]string, annotations.Annotations, error) {
	if !model.LegacyValidation.IsValidLabelName(name) {
		name = model.EscapeName(name, model.ValueEncodingEscaping)
	}
	out := []string{}
	notes, err := c.ask(ctx, http.MethodGet, selection(matchers, from, to, limit), &out, "label", name, "values")
	return out, notes, err
}

func selection(matchers [][]*labels.Matcher, from, to time.Time, limit int) url.Values {
	form := url.Values{"start": {stamp(from)}, "end": {stamp(to)}}
	for _, set := range matchers {
		form.Add("match[]", selector(set))
	}
	if limit > 0 {
		form.Set("limit", strconv.Itoa(limit))
	}
	return form
}

func selector(set []*labels.Matcher) string {
	parts := make([]string, len(set))
	for i, m := range set {
		parts[i] = m.String()
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// stamp writes a time to the millisecond.
func stamp(t time.Time) string {
	ms := t.UnixMilli()
	sign := ""
	if ms < 0 {
		sign, ms = "-", -ms
	}
	return fmt.Sprintf("%s%d.%03d", sign, ms/1000, ms%1000)
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

// ask sends one request, reads the whole answer and decodes its data.
func (c *Client) ask(ctx context.Context, method string, form url.Values, into any, path ...string) (annotations.Annotations, error) {
	start := time.Now()
	notes, err := c.exchange(ctx, method, form, into, append([]string{"api", "v1"}, path...))
	requestSeconds.UpdateDuration(start)
	return notes, c.told(strings.Join(path, "/"), err)
}

// told counts an error and says what was asked.
func (c *Client) told(op string, err error) error {
	if err == nil {
		return nil
	}
	requestFailures.Inc()
	return fmt.Errorf("ask %s for %s: %w", c.base, op, err)
}

func (c *Client) exchange(ctx context.Context, method string, form url.Values, into any, path []string) (annotations.Annotations, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := c.request(ctx, method, form, path)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, c.maxBytes+1))
	switch {
	case int64(len(body)) > c.maxBytes:
		return nil, &Error{Kind: TooLarge, Status: resp.StatusCode, Message: fmt.Sprintf("the answer is larger than %d bytes", c.maxBytes)}
	case err != nil && resp.StatusCode/100 == 2:
		return nil, unreachable(ctx, fmt.Errorf("read the answer: %w", err))
	}
	return decode(resp, body, into)
}

func (c *Client) request(ctx context.Context, method string, form url.Values, path []string) (*http.Request, error) {
	u := c.base.JoinPath(path...)
	var body io.Reader
	if method == http.MethodGet {
		u.RawQuery = form.Encode()
	} else {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	if c.header != nil {
		h, err := c.header()
		if err != nil {
			return nil, &Error{Kind: Unavailable, Message: "open the credential: " + err.Error()}
		}
		maps.Copy(req.Header, h)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req, nil
}
