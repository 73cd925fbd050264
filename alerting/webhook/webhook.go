// Package webhook is the notifier that posts Alertmanager's JSON (version 4)
// to one address.
//
// The address and the headers may hold a receiver's token: neither is ever in
// a log or an error.
package webhook

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"nocturne/alerting"
	"nocturne/internal/secret"
)

// Options say where to post.
type Options struct {
	Name    string // the receiver's, in bodies, metrics and logs
	URL     secret.Text
	Headers map[string]secret.Text
	Timeout time.Duration // of one attempt; 10 s
}

// Webhook posts notifications. It is safe for concurrent use.
type Webhook struct {
	o      Options
	client *http.Client
}

// New checks the address and posts nothing.
func New(o Options) (*Webhook, error) {
	if o.Name == "" {
		return nil, errors.New("webhook: it has no name")
	}
	u, err := url.Parse(o.URL.Reveal())
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("webhook %s: its address is no http or https address", o.Name)
	}
	return &Webhook{o: o, client: &http.Client{
		Timeout: cmp.Or(o.Timeout, 10*time.Second),
		// A redirect would carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Name is the receiver's name.
func (w *Webhook) Name() string { return w.o.Name }

// message is the body as Alertmanager documents it for webhook_config.
type message struct {
	Version           string            `json:"version"`
	GroupKey          string            `json:"groupKey"`
	TruncatedAlerts   int               `json:"truncatedAlerts"`
	Status            string            `json:"status"`
	Receiver          string            `json:"receiver"`
	GroupLabels       map[string]string `json:"groupLabels"`
	CommonLabels      map[string]string `json:"commonLabels"`
	CommonAnnotations map[string]string `json:"commonAnnotations"`
	ExternalURL       string            `json:"externalURL"`
	Alerts            []alert           `json:"alerts"`
}

type alert struct {
	Status       string            `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"` // 0001-01-01T00:00:00Z while it fires
	GeneratorURL string            `json:"generatorURL"`
	Fingerprint  string            `json:"fingerprint"`
}

func (w *Webhook) message(n alerting.Notification) message {
	m := message{
		Version: "4", GroupKey: n.Key, Status: status(n.Firing), Receiver: w.o.Name, GroupLabels: n.GroupLabels,
		CommonLabels: n.CommonLabels, CommonAnnotations: n.CommonAnnotations, ExternalURL: n.ExternalURL,
	}
	for _, a := range n.Alerts {
		m.Alerts = append(m.Alerts, alert{
			Status: status(a.Firing), Labels: a.Labels, Annotations: a.Annotations,
			StartsAt: a.StartsAt.UTC(), EndsAt: a.EndsAt.UTC(), GeneratorURL: a.GeneratorURL, Fingerprint: a.Fingerprint,
		})
	}
	return m
}

func status(firing bool) string {
	if firing {
		return "firing"
	}
	return "resolved"
}

// Notify posts one notification. The error wraps alerting.ErrRejected when the
// receiver answers that it will not take it (4xx, but for 408 and 429).
func (w *Webhook) Notify(ctx context.Context, n alerting.Notification) error {
	body, err := json.Marshal(w.message(n))
	if err != nil {
		return fmt.Errorf("webhook %s: %w: %w", w.o.Name, alerting.ErrRejected, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.o.URL.Reveal(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("webhook %s: %w", w.o.Name, withoutURL(err))
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "nocturne")
	for name, v := range w.o.Headers {
		req.Header.Set(name, v.Reveal())
	}
	res, err := w.client.Do(req)
	if err != nil {
		return fmt.Errorf("webhook %s: %w", w.o.Name, withoutURL(err))
	}
	defer res.Body.Close()
	// Read to the end, within bounds, so that the connection is kept.
	if _, err := io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)); err != nil {
		return fmt.Errorf("webhook %s: read the answer: %w", w.o.Name, err)
	}
	switch {
	case res.StatusCode/100 == 2:
		return nil
	case res.StatusCode/100 == 4 && res.StatusCode != http.StatusRequestTimeout && res.StatusCode != http.StatusTooManyRequests:
		return fmt.Errorf("webhook %s: %w: it answers %s", w.o.Name, alerting.ErrRejected, res.Status)
	}
	return fmt.Errorf("webhook %s: it answers %s", w.o.Name, res.Status)
}

// withoutURL takes the address off an error of net/http.
func withoutURL(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		return ue.Err
	}
	return err
}
