package tsdb

import "time"

// BlockDuration is that of the smallest blocks that a store with these options
// writes. What is added to the store from outside is cut by it.
func (o Options) BlockDuration() time.Duration { return blockDuration(o.Interval) }
