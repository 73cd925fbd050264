package forward

import "path/filepath"

// PositionFiles are where a receiver's position is kept.
func PositionFiles(dir, name string) [2]string {
	return [2]string{filepath.Join(dir, name+".0"), filepath.Join(dir, name+".1")}
}
