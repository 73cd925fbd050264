package alerting

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"
)

// expander fills the templates of a rule for one element of its result, with
// Prometheus' own functions and variables.
type expander struct {
	ctx      context.Context
	e        *Engine
	r        *rule
	data     any
	at       model.Time
	external *url.URL
}

func (e *Engine) expander(ctx context.Context, r *rule, s promql.Sample, ts time.Time) expander {
	external, err := url.Parse(e.o.ExternalURL)
	if err != nil {
		external = &url.URL{}
	}
	return expander{
		ctx: ctx, e: e, r: r, at: model.TimeFromUnixNano(ts.UnixNano()), external: external,
		data: template.AlertTemplateData(s.Metric.Map(), nil, e.o.ExternalURL, s),
	}
}

const templateHead = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"

// expand returns the text filled in. A template that fails says so in the
// text: an alert with a broken annotation is still an alert.
func (x expander) expand(text string) string {
	if !strings.Contains(text, "{{") {
		return text
	}
	t := template.NewTemplateExpander(x.ctx, templateHead+text, "__alert_"+x.r.name, x.data, x.at, x.e.vector, x.external, nil)
	out, err := t.Expand()
	if err != nil {
		x.e.log.Warn("template of a rule fails", "group", x.r.group, "rule", x.r.name, "err", err)
		return "<error expanding template: " + err.Error() + ">"
	}
	return out
}
