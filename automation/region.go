package automation

import (
	"errors"
	"fmt"
	"net/netip"
)

// DefaultRegion holds the hosts that no prefix of a region covers.
const DefaultRegion = "default"

// Region is a set of addresses that are reached the same way and fail together.
type Region struct {
	Name     string
	Prefixes []netip.Prefix
	Slots    int // hosts worked on at once; 0 means Options.RegionSlots
}

// atlas finds the region of an address by the longest prefix.
type atlas struct{ regions []Region }

// newAtlas checks the regions and adds the default one where it is not among
// them. The error names every region that is wrong.
func newAtlas(regions []Region, slots int) (atlas, error) {
	var a atlas
	var faults []error
	seen := map[string]bool{}
	owner := map[netip.Prefix]string{}
	for _, r := range regions {
		switch {
		case r.Name == "":
			faults = append(faults, errors.New("a region has no name"))
		case seen[r.Name]:
			faults = append(faults, fmt.Errorf("region %s stands here twice", r.Name))
		case r.Slots < 0:
			faults = append(faults, fmt.Errorf("region %s: slots cannot be negative", r.Name))
		}
		seen[r.Name] = true
		for _, p := range r.Prefixes {
			if other, taken := owner[p.Masked()]; taken {
				faults = append(faults, fmt.Errorf("region %s: prefix %s is region %s's already", r.Name, p, other))
			}
			owner[p.Masked()] = r.Name
		}
		if r.Slots == 0 {
			r.Slots = slots
		}
		a.regions = append(a.regions, r)
	}
	if !seen[DefaultRegion] {
		a.regions = append(a.regions, Region{Name: DefaultRegion, Slots: slots})
	}
	return a, errors.Join(faults...)
}

// of returns the region's name for an address with or without a port; what is
// not an IP address belongs to the default region.
func (a atlas) of(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return DefaultRegion
		}
		ip = ap.Addr()
	}
	ip = ip.Unmap().WithZone("")
	best, bits := DefaultRegion, -1
	for _, r := range a.regions {
		for _, p := range r.Prefixes {
			if p.Contains(ip) && p.Bits() > bits {
				best, bits = r.Name, p.Bits()
			}
		}
	}
	return best
}

// RegionOf returns what finds the region of an address with or without a port
// in these regions, so that whoever else reaches the hosts counts in the same.
func RegionOf(regions []Region) (func(address string) string, error) {
	a, err := newAtlas(regions, 0)
	return a.of, err
}
