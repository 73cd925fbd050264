package remotewrite

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/util/compression"
)

const (
	defaultMaxBody       = 32 << 20 // as Prometheus
	defaultMaxConcurrent = 32
	defaultCache         = 2_000_000
	slotWait             = 5 * time.Second
	readWithin           = 30 * time.Second
	comeAgain            = "5" // seconds
	turnEvery            = 30 * time.Minute
	logEvery             = 10 * time.Second
	// maxRatio is above what a snappy block can say at most: 64 bytes in 3.
	maxRatio = 22
	// keptBody is the largest buffer that is kept for later requests.
	keptBody = 4 << 20
)

// Options say where samples go. Begin is needed.
type Options struct {
	// Begin starts a batch of a sender's. Its error is the store's.
	Begin func(ctx context.Context, sender string) (Batch, error)
	// Metadata takes what senders say of metrics, of 2.0 when it or a series
	// is new, and from time to time. nil: nobody wants it.
	Metadata func(metric string, kind model.MetricType, help, unit string)
	// MaxBody bounds a body in bytes, compressed and not (32 MiB).
	MaxBody int
	// MaxConcurrent bounds the requests that are read and decoded at once;
	// others wait for five seconds (32).
	MaxConcurrent int
	// MaxCached bounds the series whose reference is remembered (2,000,000).
	MaxCached int
	// ReadOnly is in the chain of the errors of Begin and Commit that pass by
	// themselves. nil: none do.
	ReadOnly error
	Log      *slog.Logger
}

// Handler answers remote-write requests.
type Handler struct {
	o        Options
	log      *slog.Logger
	slots    chan struct{}
	cache    *cache
	requests sync.Pool // *request
	buffers  sync.Pool // *buffers
	turned   atomic.Int64
	logged   atomic.Int64
}

// buffers hold one request's bodies.
type buffers struct {
	packed []byte
	plain  compression.DecodeBuffer
	size   int // of what was decoded last
}

// New returns a Handler.
func New(o Options) (*Handler, error) {
	if o.Begin == nil {
		return nil, errors.New("remote write: Begin is missing")
	}
	if o.MaxBody < 0 || o.MaxConcurrent < 0 || o.MaxCached < 0 {
		return nil, errors.New("remote write: negative option")
	}
	o.MaxBody = cmp.Or(o.MaxBody, defaultMaxBody)
	h := &Handler{
		o:     o,
		log:   cmp.Or(o.Log, slog.New(slog.DiscardHandler)).With("component", "remotewrite"),
		slots: make(chan struct{}, cmp.Or(o.MaxConcurrent, defaultMaxConcurrent)),
		cache: newCache(cmp.Or(o.MaxCached, defaultCache)),
	}
	keys := newSeeds()
	h.requests.New = func() any { return &request{seeds: keys, cache: h.cache, metadata: o.Metadata} }
	h.buffers.New = func() any { return &buffers{plain: compression.NewSyncDecodeBuffer()} }
	h.turned.Store(time.Now().UnixNano())
	return h, nil
}

// refusal is an answer without samples stored.
type refusal struct {
	status int
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Errorf(format, args...)}
}

// Serve answers one request. The sender is whoever the caller knows it to be.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request, sender string) {
	start := time.Now()
	version, out, err := h.serve(w, r, sender)
	status, text := http.StatusNoContent, ""
	switch {
	case err != nil:
		status, text = http.StatusInternalServerError, err.Error()
		if no, ok := errors.AsType[*refusal](err); ok {
			status = no.status
		} else if h.o.ReadOnly != nil && errors.Is(err, h.o.ReadOnly) {
			status = http.StatusServiceUnavailable
		}
	case out.Rejected > 0 || len(out.Faults) > 0:
		status, text = http.StatusBadRequest, out.text()
	}
	if version == 2 {
		// The specification wants them with every answer, and what failed
		// stored nothing that counts.
		for name, n := range map[string]int{"Samples": out.Samples, "Histograms": out.Histograms, "Exemplars": 0} {
			w.Header().Set("X-Prometheus-Remote-Write-"+name+"-Written", strconv.Itoa(n))
		}
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", comeAgain)
	}
	metrics.GetOrCreateCounter(fmt.Sprintf(`nocturne_tsdb_remotewrite_requests_total{version="%d",code="%d"}`, version, status)).Inc()
	requestSeconds.UpdateDuration(start)
	if status == http.StatusNoContent {
		w.WriteHeader(status)
		return
	}
	h.tell(r.Context(), sender, status, out.Rejected, text)
	http.Error(w, text, status)
}

var (
	requestSeconds   = metrics.GetOrCreateHistogram(`nocturne_tsdb_remotewrite_request_duration_seconds`)
	exemplarsDropped = metrics.GetOrCreateCounter(`nocturne_tsdb_remotewrite_exemplars_dropped_total`)
)

// tell logs what went wrong, one line in ten seconds: a sender that is wrong
// is so with each request.
func (h *Handler) tell(ctx context.Context, sender string, status, rejected int, text string) {
	now, last := time.Now().UnixNano(), h.logged.Load()
	if now-last < int64(logEvery) || !h.logged.CompareAndSwap(last, now) {
		return
	}
	level := slog.LevelWarn
	if status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	h.log.Log(ctx, level, "remote write not taken as it came", "sender", sender, "status", status, "rejected", rejected, "err", text)
}

// text describes the rejected samples, a line each.
func (o Outcome) text() string {
	var b strings.Builder
	if o.Rejected > 0 {
		fmt.Fprintf(&b, "%d samples rejected, %d stored\n", o.Rejected, o.Samples+o.Histograms)
	}
	for _, err := range o.Faults {
		b.WriteString(err.Error())
		b.WriteByte('\n')
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, sender string) (version int, out Outcome, err error) {
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "snappy" {
		return 0, out, refuse(http.StatusUnsupportedMediaType, "%.100s encoding (compression) is not accepted by this server; only snappy is acceptable", e)
	}
	if err := h.slot(r.Context()); err != nil {
		return 0, out, err
	}
	defer func() { <-h.slots }()
	// A server without deadlines, as in tests, is no reason to refuse.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readWithin))
	buf := h.buffers.Get().(*buffers)
	defer h.keep(buf)
	body, err := h.body(r, buf)
	if err != nil {
		return 0, out, err
	}
	if version, err = protocol(r.Header.Get("Content-Type")); err != nil {
		return 0, out, refuse(http.StatusUnsupportedMediaType, "%w", err)
	}
	out, err = h.store(r.Context(), sender, version, body)
	return version, out, err
}

func (h *Handler) slot(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	late := time.NewTimer(slotWait)
	defer late.Stop()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-late.C:
	case <-ctx.Done():
	}
	return refuse(http.StatusServiceUnavailable, "%d requests are being taken, as many as may be", cap(h.slots))
}

// body reads and unpacks, and allocates no more than is there.
func (h *Handler) body(r *http.Request, buf *buffers) ([]byte, error) {
	into := bytes.NewBuffer(buf.packed[:0])
	if n := r.ContentLength; n > 0 {
		into.Grow(int(min(n, int64(h.o.MaxBody))) + bytes.MinRead)
	}
	_, err := into.ReadFrom(io.LimitReader(r.Body, int64(h.o.MaxBody)+1))
	buf.packed = into.Bytes()
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "read body: %w", err)
	}
	if len(buf.packed) > h.o.MaxBody {
		return nil, refuse(http.StatusRequestEntityTooLarge, "request body exceeds the %d bytes limit", h.o.MaxBody)
	}
	size, k := binary.Uvarint(buf.packed)
	switch {
	case k <= 0 || size > maxRatio*uint64(len(buf.packed)):
		return nil, refuse(http.StatusBadRequest, "snappy: corrupt input")
	case size > uint64(h.o.MaxBody):
		return nil, refuse(http.StatusBadRequest, "decoded size exceeds the %d bytes limit", h.o.MaxBody)
	}
	plain, err := compression.Decode(compression.Snappy, buf.packed, buf.plain)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%w", err)
	}
	buf.size = len(plain)
	return plain, nil
}

func (h *Handler) keep(b *buffers) {
	if max(cap(b.packed), b.size) <= keptBody {
		h.buffers.Put(b)
	}
}

// protocol reads the version off the content type; none is 1.0.
func protocol(contentType string) (int, error) {
	contentType = strings.TrimSpace(contentType)
	if contentType == "" {
		return 1, nil
	}
	kind, params, _ := strings.Cut(contentType, ";")
	if kind != "application/x-protobuf" {
		return 0, fmt.Errorf("expected application/x-protobuf as the first (media) part, got %.200s content-type", contentType)
	}
	for p := range strings.SplitSeq(params, ";") {
		if params == "" {
			break
		}
		name, value, ok := strings.Cut(p, "=")
		if !ok || strings.Contains(value, "=") {
			return 0, fmt.Errorf("expected parameters to be key-values, got %.200s content-type", contentType)
		}
		if name != "proto" {
			continue
		}
		switch value {
		case "prometheus.WriteRequest":
			return 1, nil
		case "io.prometheus.write.v2.Request":
			return 2, nil
		}
		return 0, fmt.Errorf("got %.200s content type; unknown type for remote write protobuf message", contentType)
	}
	return 1, nil
}

func (h *Handler) store(ctx context.Context, sender string, version int, body []byte) (Outcome, error) {
	if now, last := time.Now().UnixNano(), h.turned.Load(); now-last > int64(turnEvery) && h.turned.CompareAndSwap(last, now) {
		h.cache.turn()
	}
	b, err := h.o.Begin(ctx, sender)
	if err != nil {
		return Outcome{}, fmt.Errorf("store: %w", err)
	}
	q := h.requests.Get().(*request)
	defer func() {
		q.forget()
		h.requests.Put(q)
	}()
	q.reset(b)
	if version == 2 {
		err = q.v2(body)
	} else {
		err = q.v1(body)
	}
	if err != nil {
		if failed := b.Rollback(); failed != nil {
			return Outcome{}, fmt.Errorf("store: %w", failed)
		}
		return Outcome{}, refuse(http.StatusBadRequest, "decode: %w", err)
	}
	exemplarsDropped.Add(q.exemplars)
	out, err := b.Commit()
	if err != nil {
		return Outcome{}, fmt.Errorf("store: %w", err) // what the batch counted is not sure
	}
	for _, f := range q.faults {
		out.Faults = append(out.Faults, errors.New(f))
	}
	return out, nil
}
