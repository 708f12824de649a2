package load

import (
	"math/bits"
	"time"
)

// Delays counts delays in buckets that are at most 1/64 wide, relative to the
// delay, with a microsecond as the finest. The zero value is ready.
type Delays struct {
	count   uint64
	max     time.Duration
	buckets [delayBuckets]uint32
}

const (
	delaySteps   = 64
	delayDoubles = 20 // up to about a minute; more counts as that
	delayBuckets = delaySteps * (delayDoubles + 1)
)

// Add counts one delay.
func (d *Delays) Add(v time.Duration) {
	v = max(v, 0)
	d.count++
	d.max = max(d.max, v)
	d.buckets[delayBucket(v)]++
}

// Merge adds what another one counted.
func (d *Delays) Merge(other *Delays) {
	d.count += other.count
	d.max = max(d.max, other.max)
	for i, n := range other.buckets {
		d.buckets[i] += n
	}
}

// Count is how many delays there are.
func (d *Delays) Count() uint64 { return d.count }

// Max is the longest delay, exactly.
func (d *Delays) Max() time.Duration { return d.max }

// Quantile is the delay that the share q of all does not exceed, rounded up to
// the border of its bucket.
func (d *Delays) Quantile(q float64) time.Duration {
	var sum uint64
	for i, n := range d.buckets {
		sum += uint64(n)
		if n > 0 && float64(sum) >= q*float64(d.count) {
			return min(delayBorder(i), d.max)
		}
	}
	return d.max
}

func delayBucket(v time.Duration) int {
	us := uint64(v / time.Microsecond)
	if us < delaySteps {
		return int(us)
	}
	shift := bits.Len64(us) - bits.Len64(delaySteps)
	i := delaySteps*shift + int(us>>shift)
	return min(i, delayBuckets-1)
}

// delayBorder is the first delay beyond bucket i.
func delayBorder(i int) time.Duration {
	if i < delaySteps {
		return time.Duration(i+1) * time.Microsecond
	}
	shift := i/delaySteps - 1
	return time.Duration(uint64(delaySteps+i%delaySteps+1)<<shift) * time.Microsecond
}
