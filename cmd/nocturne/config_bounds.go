package main

import (
	"fmt"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"nocturne/internal/strictyaml"
)

// What no field goes beyond, by its type. They are far above what is sensible:
// a number beyond them is a slip, and would overflow somewhere later.
const (
	longestWait  = 366 * 24 * time.Hour       // a time.Duration: an interval, a timeout
	longestKept  = 100 * 365 * 24 * time.Hour // a model.Duration: a retention
	largestCount = 1_000_000_000
	largestSize  = Bytes(1e15)
)

// addAll adds each of the errors that err joins.
func (f *faults) addAll(path string, err error) {
	if err == nil {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			f.addAll(path, e)
		}
		return
	}
	f.add(path, "%v", err)
}

// about tells whether there is a fault of the field at path already.
func (f *faults) about(path string) bool {
	return slices.ContainsFunc(f.errs, func(err error) bool {
		fault, ok := err.(*strictyaml.Fault)
		return ok && fault.Path == path
	})
}

// validateTexts checks texts that nothing else looks at before they are used.
func (c *Config) validateTexts(f *faults) {
	if c.Data == "" {
		f.add("data", "must name a folder")
	}
	if c.ExternalURL != "" {
		u, err := url.Parse(c.ExternalURL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			f.add("external_url", "must be an http or https address")
		}
	}
	if c.History.OutOfOrder == 0 {
		f.add("history.out_of_order", "must be above zero")
	}
}

// checkBounds holds every field to the bounds of its type, and every element
// of a list of texts or networks to be one. A field that has a fault already is left out.
func checkBounds(f *faults, path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			checkBounds(f, path, v.Elem())
		}
	case reflect.Struct:
		for field, fv := range v.Fields() {
			if name, ok := yamlName(field); ok {
				checkBounds(f, joinPath(path, name), fv)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			at := fmt.Sprintf("%s[%d]", path, i)
			if e := v.Index(i); e.IsZero() && (e.Kind() == reflect.String || e.Type() == reflect.TypeFor[netip.Prefix]()) {
				f.add(at, "must not be empty")
			} else {
				checkBounds(f, at, e)
			}
		}
	default:
		if fault := outOfBounds(v); fault != "" && !f.about(path) {
			f.add(path, "%s", fault)
		}
	}
}

// outOfBounds says what is wrong with a number, if anything.
func outOfBounds(v reflect.Value) string {
	most, shown := int64(largestCount), fmt.Sprint(largestCount)
	switch v.Interface().(type) {
	case time.Duration:
		most, shown = int64(longestWait), longestWait.String()
	case model.Duration:
		most, shown = int64(longestKept), model.Duration(longestKept).String()
	case Bytes:
		most, shown = int64(largestSize), "1000TB"
	}
	switch {
	case v.CanInt() && v.Int() < 0:
		return "cannot be negative"
	case v.CanInt() && v.Int() > most, v.CanUint() && v.Uint() > uint64(most):
		return "must be at most " + shown
	}
	return ""
}

// yamlName is what a field of the configuration is called in the file.
func yamlName(f reflect.StructField) (string, bool) {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name, f.IsExported() && name != "" && name != "-"
}

func joinPath(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
