package openmetrics

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
)

// farthest is the largest time in ms that a float64 of seconds still holds.
const farthest = 1 << 53

// parser reads single lines.
type parser struct {
	rest   string
	labels labels.ScratchBuilder
}

// sample parses a line with a sample. The labels are sorted.
func (p *parser) sample(line string) (ls labels.Labels, t int64, v float64, err error) {
	p.rest = line
	p.labels.Reset()
	if err := p.series(); err != nil {
		return ls, 0, 0, err
	}
	p.labels.Sort()
	ls = p.labels.Labels()
	if err := check(ls); err != nil {
		return ls, 0, 0, err
	}
	text, rest, _ := strings.Cut(strings.TrimLeft(p.rest, " "), " ")
	if v, err = parseValue(text); err != nil {
		return ls, 0, 0, fmt.Errorf("series %s: %w", ls, err)
	}
	text, rest, _ = strings.Cut(rest, " ")
	if text == "" || text == "#" {
		return ls, 0, 0, fmt.Errorf("series %s: the sample has no timestamp", ls)
	}
	if t, err = parseTime(text); err != nil {
		return ls, 0, 0, fmt.Errorf("series %s: %w", ls, err)
	}
	switch {
	case rest == "":
	case !strings.HasPrefix(rest, "# {"):
		return ls, 0, 0, fmt.Errorf("series %s: %q follows the timestamp", ls, rest)
	case math.IsNaN(v) && " "+rest == staleMark:
		v = math.Float64frombits(value.StaleNaN)
	}
	return ls, t, v, nil
}

func check(ls labels.Labels) error {
	if name, twice := ls.HasDuplicateLabelNames(); twice {
		return fmt.Errorf("series %s: label %q stands here twice", ls, name)
	}
	if ls.Get(model.MetricNameLabel) == "" {
		return fmt.Errorf("series %s has no metric name", ls)
	}
	if !ls.IsValid(model.UTF8Validation) {
		return fmt.Errorf("series %s: a name or value is not UTF-8", ls)
	}
	return nil
}

// series reads name{label="value",...} or {"name",label="value",...}.
func (p *parser) series() error {
	name := p.bare(true)
	if name != "" {
		p.labels.Add(model.MetricNameLabel, name)
	}
	if !strings.HasPrefix(p.rest, "{") {
		if name == "" {
			return fmt.Errorf("%q does not begin with a metric name", short(p.rest))
		}
		return nil
	}
	p.rest = p.rest[1:]
	for {
		p.skip()
		if strings.HasPrefix(p.rest, "}") {
			p.rest = p.rest[1:]
			return nil
		}
		if err := p.label(); err != nil {
			return err
		}
		p.skip()
		switch {
		case strings.HasPrefix(p.rest, ","):
			p.rest = p.rest[1:]
		case !strings.HasPrefix(p.rest, "}"):
			return fmt.Errorf("%q where a comma or } should stand", short(p.rest))
		}
	}
}

func (p *parser) label() (err error) {
	name, quoted := "", strings.HasPrefix(p.rest, `"`)
	if !quoted {
		name = p.bare(false)
	} else if name, err = p.quoted(); err != nil {
		return err
	}
	if name == "" {
		return fmt.Errorf("%q where a label name should stand", short(p.rest))
	}
	p.skip()
	if !strings.HasPrefix(p.rest, "=") {
		if !quoted {
			return fmt.Errorf("label %s has no value", name)
		}
		p.labels.Add(model.MetricNameLabel, name)
		return nil
	}
	p.rest = p.rest[1:]
	p.skip()
	v, err := p.quoted()
	if err != nil {
		return fmt.Errorf("label %s: %w", name, err)
	}
	if v != "" { // an empty value means that the label is not there
		p.labels.Add(name, v)
	}
	return nil
}

func (p *parser) skip() { p.rest = strings.TrimLeft(p.rest, " \t") }

func (p *parser) bare(colon bool) string {
	i := 0
	for i < len(p.rest) {
		c := p.rest[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || colon && c == ':'
		if !letter && (i == 0 || c < '0' || c > '9') {
			break
		}
		i++
	}
	name := p.rest[:i]
	p.rest = p.rest[i:]
	return name
}

func (p *parser) quoted() (string, error) {
	if !strings.HasPrefix(p.rest, `"`) {
		return "", fmt.Errorf("%q where a quoted value should stand", short(p.rest))
	}
	s := p.rest[1:]
	if i := strings.IndexAny(s, `"\`); i >= 0 && s[i] == '"' { // nothing to unescape
		p.rest = s[i+1:]
		return s[:i], nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			p.rest = s[i+1:]
			return b.String(), nil
		case c != '\\' || i+1 == len(s):
			b.WriteByte(c)
		default:
			i++
			switch s[i] {
			case 'n':
				b.WriteByte('\n')
			case '\\', '"':
				b.WriteByte(s[i])
			default:
				b.WriteByte('\\')
				b.WriteByte(s[i])
			}
		}
	}
	return "", errors.New("the quote is not closed")
}

func short(s string) string { return s[:min(len(s), 40)] }

func parseValue(text string) (float64, error) {
	if strings.ContainsAny(text, "xX_pP") { // Go's own ways to write a number
		return 0, fmt.Errorf("%q is no value", short(text))
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no value", short(text))
	}
	if math.IsNaN(v) {
		return math.Float64frombits(value.NormalNaN), nil
	}
	return v, nil
}

// parseTime reads seconds as milliseconds. Plain decimals are read digit by
// digit: by way of a float, some come out a millisecond early.
func parseTime(text string) (int64, error) {
	digits, minus := strings.CutPrefix(text, "-")
	whole, part, _ := strings.Cut(digits, ".")
	if len(whole) > 0 && len(whole) < 14 && onlyDigits(whole) && onlyDigits(part) && len(part) <= 3 {
		t, err := strconv.ParseInt(whole+(part + "000")[:3], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is no timestamp", short(text))
		}
		if minus {
			t = -t
		}
		return t, nil
	}
	s, err := parseValue(text)
	if err != nil || math.IsNaN(s) || math.Abs(s) > farthest/1000 {
		return 0, fmt.Errorf("%q is no timestamp", short(text))
	}
	return int64(math.Round(s * 1000)), nil
}

func onlyDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
