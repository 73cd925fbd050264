package openstack

import (
	"context"
	"fmt"

	"github.com/gophercloud/gophercloud/v2/pagination"
)

// collect follows a list's pages to the end. A row that comes again means that
// the list changed below us (it is kept once), a page of nothing new that the
// pages go in a circle.
func collect[T any](ctx context.Context, p pagination.Pager, extract func(pagination.Page) ([]T, error), id func(T) string) ([]T, error) {
	var out []T
	had := map[string]bool{}
	err := p.EachPage(ctx, func(_ context.Context, page pagination.Page) (bool, error) {
		rows, err := extract(page)
		if err != nil {
			return false, fmt.Errorf("read a page: %w", err)
		}
		before := len(out)
		for _, row := range rows {
			if !had[id(row)] {
				had[id(row)] = true
				out = append(out, row)
			}
		}
		switch {
		case len(out) == before:
			return false, fmt.Errorf("after %d rows the pages go in a circle", before)
		case len(out) > maxRows:
			return false, fmt.Errorf("more than %d rows", maxRows)
		}
		return true, nil
	})
	return out, err
}
