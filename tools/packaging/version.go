package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

// firstVersion is what is worked towards before the first tag.
const firstVersion = "0.1.0"

var (
	valid     = regexp.MustCompile(`^[0-9][0-9A-Za-z.+~]*$`)
	described = regexp.MustCompile(`^v([0-9]+\.[0-9]+\.[0-9]+)(?:-([0-9A-Za-z.]+))?-([0-9]+)-g([0-9a-f]+)$`)
)

// describe makes the version of a commit that both dpkg and rpm order right:
// what comes before a release has ~, what comes after it has +.
func describe(ctx context.Context, root string) (string, error) {
	dirty, err := git(ctx, root, "status", "--porcelain", "--untracked-files=no")
	if err != nil {
		return "", err
	}
	tag, err := git(ctx, root, "describe", "--tags", "--long", "--match", "v[0-9]*")
	if err == nil {
		return versionOf(tag, dirty != "")
	}
	count, err := git(ctx, root, "rev-list", "--count", "HEAD")
	if err != nil {
		return "", err
	}
	hash, err := git(ctx, root, "rev-parse", "--short=12", "HEAD")
	if err != nil {
		return "", err
	}
	return firstVersion + "~dev." + count + "+g" + hash + mark(dirty != ""), nil
}

// versionOf turns what `git describe --long` says into a version.
func versionOf(tag string, dirty bool) (string, error) {
	m := described.FindStringSubmatch(tag)
	if m == nil {
		return "", fmt.Errorf("the tag in %q is not of the form v1.2.3 or v1.2.3-rc.1", tag)
	}
	v := m[1]
	if m[2] != "" {
		v += "~" + m[2]
	}
	if m[3] != "0" || dirty {
		v += "+" + m[3] + ".g" + m[4] + mark(dirty)
	}
	return v, nil
}

func mark(dirty bool) string {
	if dirty {
		return ".dirty"
	}
	return ""
}

// checkVersion holds a version to what both formats take.
func checkVersion(v string) error {
	if !valid.MatchString(v) || strings.Contains(v, "..") {
		return fmt.Errorf("%q is no version: a digit first, then digits, letters, and . + ~", v)
	}
	return nil
}
