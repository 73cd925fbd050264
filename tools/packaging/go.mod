// What makes the packages: a module of its own, so that the product's stays small.
module packaging

go 1.26.0

require (
	github.com/google/licensecheck v0.3.1
	github.com/goreleaser/nfpm/v2 v2.45.2
)
