package tsdb

import (
	"encoding/binary"

	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/encoding"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/tombstones"
	"github.com/prometheus/prometheus/util/compression"
)

// names says whether the log names a series, so that what it says of it can
// stay. The number of one above all that it names may be another's soon, also
// in an undamaged log: a power cut takes the ends of the two logs apart.
func (r *logRepair) names(ref chunks.HeadSeriesRef) bool {
	return ref <= r.highest && (!r.orphans || r.refs[ref])
}

// filter returns a record as it is to be written again, and whether something
// was left out of it.
func (r *logRepair) filter(f *logFile, d logRecord, orphans *LostLog) (plain []byte, less bool) {
	var enc record.Encoder
	switch d.kind {
	case record.Series:
		for _, s := range d.series {
			r.refs[s.Ref] = true
		}
	case record.Samples, record.SamplesV2:
		if len(d.samples) == 0 {
			return d.plain, false
		}
		if r.open < len(r.lost) {
			r.until(d.samples[0].T)
		}
		r.lastT = d.samples[len(d.samples)-1].T
		enc.EnableSTStorage = d.kind == record.SamplesV2
		return left(d, d.samples, func(s record.RefSample) bool {
			known := r.named(s.Ref, s.T, orphans)
			if known && f.late {
				r.late[s.Ref] = true
			}
			return known
		}, func(known []record.RefSample) []byte { return enc.Samples(known, nil) })
	case record.HistogramSamples, record.CustomBucketsHistogramSamples, record.HistogramSamplesV2:
		enc.EnableSTStorage = d.kind == record.HistogramSamplesV2
		return left(d, d.hists, func(s record.RefHistogramSample) bool { return r.named(s.Ref, s.T, orphans) }, func(known []record.RefHistogramSample) []byte {
			if d.kind == record.CustomBucketsHistogramSamples {
				return enc.CustomBucketsHistogramSamples(known, nil)
			}
			b, _ := enc.HistogramSamples(known, nil)
			return b
		})
	case record.FloatHistogramSamples, record.CustomBucketsFloatHistogramSamples, record.FloatHistogramSamplesV2:
		enc.EnableSTStorage = d.kind == record.FloatHistogramSamplesV2
		return left(d, d.floats, func(s record.RefFloatHistogramSample) bool { return r.named(s.Ref, s.T, orphans) }, func(known []record.RefFloatHistogramSample) []byte {
			if d.kind == record.CustomBucketsFloatHistogramSamples {
				return enc.CustomBucketsFloatHistogramSamples(known, nil)
			}
			b, _ := enc.FloatHistogramSamples(known, nil)
			return b
		})
	case record.Tombstones:
		return left(d, d.stones, func(s tombstones.Stone) bool { return r.names(chunks.HeadSeriesRef(s.Ref)) }, func(known []tombstones.Stone) []byte {
			return enc.Tombstones(known, nil)
		})
	case record.MmapMarkers:
		return left(d, d.markers, func(m record.RefMmapMarker) bool {
			return r.names(m.Ref) && (r.mapped.late[m.MmapRef] || m.MmapRef == 0 && !r.late[m.Ref])
		}, func(known []record.RefMmapMarker) []byte { return enc.MmapMarkers(known, nil) })
	}
	return d.plain, false
}

// named is names for a sample, which is counted as lost if its series is not.
func (r *logRepair) named(ref chunks.HeadSeriesRef, t int64, orphans *LostLog) bool {
	ok := r.names(ref)
	if !ok && r.orphans {
		orphans.add(t) // else nobody was told that it is stored
	}
	return ok
}

// left is a record of what may stay of all.
func left[T any](d logRecord, all []T, stays func(T) bool, encode func([]T) []byte) (plain []byte, less bool) {
	kept := make([]T, 0, len(all))
	for _, x := range all {
		if stays(x) {
			kept = append(kept, x)
		}
	}
	switch len(kept) {
	case len(all):
		return d.plain, false
	case 0:
		return nil, true
	}
	return encode(kept), true
}

// highest is the highest number of a series that a record names, 0 when it
// names none. It reads as little as it can, since it sees all records.
func (r *recordReader) highest(compr compression.Type, rec []byte) (ref chunks.HeadSeriesRef) {
	if kind := firstByte(compr, rec); kind >= 0 && record.Type(kind) != record.Series {
		return 0
	}
	r.begin()
	plain, err := compression.Decode(compr, rec, r.buf)
	if err != nil || recordType(plain) != record.Series {
		return 0
	}
	dec := encoding.Decbuf{B: plain[1:]}
	for dec.Len() > 0 && dec.Err() == nil {
		of := chunks.HeadSeriesRef(dec.Be64())
		for range 2 * dec.Uvarint() { // names and values
			dec.UvarintBytes()
		}
		if dec.Err() == nil {
			ref = max(ref, of)
		}
	}
	return ref
}

// firstByte is that of a record before it was compressed; -1 when it is not to
// be had without decoding. Snappy's format begins with the length, and what
// follows at the very beginning can only be a literal.
func firstByte(compr compression.Type, rec []byte) int {
	switch compr {
	case compression.None:
		if len(rec) > 0 {
			return int(rec[0])
		}
	case compression.Snappy:
		_, n := binary.Uvarint(rec)
		if n <= 0 || n >= len(rec) || rec[n]&3 != 0 {
			return -1
		}
		long := max(0, int(rec[n]>>2)-59) // bytes of the literal's length
		if n+1+long < len(rec) {
			return int(rec[n+1+long])
		}
	}
	return -1
}
