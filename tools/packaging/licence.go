package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// leastKnown is how much of a licence file, in percent, must be text of a known
// licence. The rest is names and years.
const leastKnown = 60

var (
	licenceFile = regexp.MustCompile(`(?i)^(un)?(licen[cs]es?|copying)([-._].*)?$`)
	noticeFile  = regexp.MustCompile(`(?i)^(notice|patents|copyright)([-._].*)?$`)
)

// license finds the licences of a part in its folder. A part of which none is
// known is refused: somebody has to look.
func (p *part) license(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("licence of %s: %w", p.name, err)
	}
	for _, e := range entries {
		law := licenceFile.MatchString(e.Name())
		if !e.Type().IsRegular() || !law && !noticeFile.MatchString(e.Name()) {
			continue
		}
		body, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return fmt.Errorf("licence of %s: %w", p.name, err)
		}
		p.texts = append(p.texts, text{e.Name(), string(body)})
		if !law {
			continue
		}
		found := licensecheck.Scan(body)
		if found.Percent < leastKnown {
			return fmt.Errorf("licence of %s: only %.0f %% of %s is text of a known licence", p.name, found.Percent, e.Name())
		}
		for _, m := range found.Match {
			if !slices.Contains(p.licences, m.ID) {
				p.licences = append(p.licences, m.ID)
			}
		}
	}
	if len(p.licences) == 0 {
		return fmt.Errorf("licence of %s: there is none in %s", p.name, filepath.Base(dir))
	}
	slices.Sort(p.licences)
	return p.allowed()
}

// allowed refuses what would bind the whole.
func (p *part) allowed() error {
	for _, id := range p.licences {
		if strings.Contains(strings.ToUpper(id), "GPL") {
			return fmt.Errorf("licence of %s: %s does not go with Apache-2.0 in one binary", p.name, id)
		}
	}
	return nil
}
