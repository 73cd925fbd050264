package ui

import (
	"maps"
	"net/url"
	"strconv"
	"strings"
)

// Query is what a list's URL says: text, filters, order and page. Handlers
// parse it, select rows by it, and hand it back in the view model, so that
// every header and pager links to its neighbour state of the same list.
type Query struct {
	Path   string            // the list's path, /devices
	Text   string            // ?q=
	State  State             // ?state=, "" for all
	Filter map[string]string // the other filters, such as kind or rack
	Sort   string            // ?sort=, "" for the list's own order
	Desc   bool              // ?desc=1
	Page   int               // ?page=, from 1
}

// ParseQuery reads a list's query from a request's path and parameters.
// filters names the further filters the list knows; others are ignored.
func ParseQuery(path string, v url.Values, filters ...string) Query {
	q := Query{Path: path, Text: strings.TrimSpace(v.Get("q")), Sort: v.Get("sort"), Desc: v.Get("desc") == "1", Page: 1, Filter: map[string]string{}}
	if s := State(v.Get("state")); s != "" && s == s.Known() {
		q.State = s
	}
	for _, f := range filters {
		if x := v.Get(f); x != "" {
			q.Filter[f] = x
		}
	}
	if p, err := strconv.Atoi(v.Get("page")); err == nil && p > 1 {
		q.Page = p
	}
	return q
}

// Href is the URL of the list in this state.
func (q Query) Href() string {
	v := url.Values{}
	set := func(k, x string) {
		if x != "" {
			v.Set(k, x)
		}
	}
	set("q", q.Text)
	set("state", string(q.State))
	for k, x := range q.Filter {
		set(k, x)
	}
	set("sort", q.Sort)
	if q.Desc {
		v.Set("desc", "1")
	}
	if q.Page > 1 {
		v.Set("page", strconv.Itoa(q.Page))
	}
	if len(v) == 0 {
		return q.Path
	}
	return q.Path + "?" + v.Encode()
}

// SortedBy links to the list ordered by key: ascending first, then descending.
func (q Query) SortedBy(key string) string {
	q.Desc = q.Sort == key && !q.Desc
	q.Sort, q.Page = key, 1
	return q.Href()
}

// WithState links to the list showing only state s, "" for all.
func (q Query) WithState(s State) string {
	q.State, q.Page = s, 1
	return q.Href()
}

// With links to the list with filter name set to value, "" to drop it.
func (q Query) With(name, value string) string {
	q.Filter = maps.Clone(q.Filter)
	if q.Filter == nil {
		q.Filter = map[string]string{}
	}
	q.Filter[name] = value
	q.Page = 1
	return q.Href()
}

// At links to page p of the list.
func (q Query) At(p int) string {
	q.Page = p
	return q.Href()
}

// Filtered says whether anything narrows the list.
func (q Query) Filtered() bool {
	return q.Text != "" || q.State != "" || len(q.Filter) > 0
}

// Pager is where a page of rows stands in the whole list.
type Pager struct {
	Total, PerPage int
}

// Pages is the number of pages, at least 1.
func (p Pager) Pages() int {
	if p.PerPage <= 0 {
		return 1
	}
	return max(1, (p.Total+p.PerPage-1)/p.PerPage)
}

// Path escapes an item's ID for a URL's path, its slashes kept, unless the path
// would be cleaned of a part of it.
func Path(id string) string {
	parts := strings.Split(id, "/")
	for i, p := range parts {
		if p == "" || p == "." || p == ".." {
			return url.PathEscape(id)
		}
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}
