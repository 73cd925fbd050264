package automation

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
	"sync"
	"time"

	"nocturne/internal/state"
)

const (
	maxLine      = 4 << 10 // bytes; a longer line goes on in the next
	flushLines   = 64
	flushEvery   = 250 * time.Millisecond
	chunkKeyForm = "%s/%012d"
)

// outputChunk is some consecutive lines, stored under "JOB/SEQ" of the first.
type outputChunk struct {
	Lines []OutputLine `json:"lines"`
}

// transcript keeps what a job's commands print, up to a bound for each host and
// one for the job. Lines are stored in chunks and shown to watchers at once.
type transcript struct {
	job               string
	hostMax, totalMax int64
	table             *state.Table[outputChunk]
	show              func(OutputLine)
	fail              func(error)

	flushing sync.Mutex // held while a chunk is written: chunks are stored in order

	mu     sync.Mutex // guards below
	seq    int64
	total  int64
	byHost map[string]int64
	buffer []OutputLine // not stored yet
	timer  *time.Timer
}

// load goes on behind what is stored.
func (t *transcript) load() error {
	for rec, err := range t.table.All(t.job + "/") {
		if err != nil {
			return err
		}
		for _, l := range rec.Value.Lines {
			t.seq = max(t.seq, l.Seq)
			t.total += int64(len(l.Text)) + 1
			t.byHost[l.Host] += int64(len(l.Text)) + 1
		}
	}
	return nil
}

// add takes one line, or says once that the output is cut from here.
func (t *transcript) add(host, step, text string) {
	t.mu.Lock()
	size := int64(len(text)) + 1
	switch {
	case t.byHost[host] > t.hostMax || t.total > t.totalMax:
		t.mu.Unlock()
		return // the notice was written when the bound was passed
	case t.byHost[host]+size > t.hostMax:
		text = fmt.Sprintf("[output cut: more than %d bytes from %s]", t.hostMax, host)
		t.byHost[host] = t.hostMax + 1
	case t.total+size > t.totalMax:
		text = fmt.Sprintf("[output cut: more than %d bytes from this job]", t.totalMax)
		t.total = t.totalMax + 1
	default:
		t.byHost[host] += size
		t.total += size
	}
	t.seq++
	line := OutputLine{Seq: t.seq, At: time.Now().UTC(), Host: host, Step: step, Text: text}
	t.buffer = append(t.buffer, line)
	full := len(t.buffer) >= flushLines
	if !full && t.timer == nil {
		t.timer = time.AfterFunc(flushEvery, t.flush)
	}
	t.show(line) // under mu, so that watchers see the lines in order
	t.mu.Unlock()
	if full {
		t.flush()
	}
}

// flush stores the lines in the buffer. When that is impossible they stay.
func (t *transcript) flush() {
	t.flushing.Lock()
	defer t.flushing.Unlock()
	t.mu.Lock()
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	lines := t.buffer
	t.mu.Unlock()
	if len(lines) == 0 {
		return
	}
	id := fmt.Sprintf(chunkKeyForm, t.job, lines[0].Seq)
	if err := t.table.PutMany([]state.Record[outputChunk]{{ID: id, Value: outputChunk{Lines: lines}}}); err != nil {
		t.fail(fmt.Errorf("store output of job %s: %w", t.job, err))
		return
	}
	t.mu.Lock()
	t.buffer = append([]OutputLine(nil), t.buffer[len(lines):]...)
	t.mu.Unlock()
}

// unstored returns the lines in the buffer.
func (t *transcript) unstored() []OutputLine {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]OutputLine(nil), t.buffer...)
}

// stepOutput is the Writer of one command. It counts and hashes every byte, and
// passes lines on.
type stepOutput struct {
	to         *transcript
	host, step string

	mu    sync.Mutex // guards below: two streams may write at once
	sum   hash.Hash
	bytes int64
	rest  []byte
}

func (t *transcript) step(host, step string) *stepOutput {
	return &stepOutput{to: t, host: host, step: step, sum: sha256.New()}
}

func (o *stepOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sum.Write(p)
	o.bytes += int64(len(p))
	o.rest = append(o.rest, p...)
	for {
		n := bytes.IndexByte(o.rest, '\n')
		switch {
		case n >= 0 && n <= maxLine:
			o.line(o.rest[:n])
			o.rest = o.rest[n+1:]
		case len(o.rest) > maxLine:
			o.line(o.rest[:maxLine])
			o.rest = o.rest[maxLine:]
		default:
			o.rest = bytes.Clone(o.rest)
			return len(p), nil
		}
	}
}

func (o *stepOutput) line(b []byte) {
	text := strings.ToValidUTF8(strings.TrimSuffix(string(b), "\r"), "\uFFFD")
	o.to.add(o.host, o.step, text)
}

// close passes on a last line without a newline and stores all.
func (o *stepOutput) close() (n int64, sha string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.rest) > 0 {
		o.line(o.rest)
		o.rest = nil
	}
	o.to.flush()
	return o.bytes, hex.EncodeToString(o.sum.Sum(nil))
}
