package history

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
)

// disk reads a copy.
type disk struct {
	dir     string
	streams map[string]*shelf
}

// Open is the past that a copy on disk holds. Damage is reported when what is
// damaged is read.
func Open(dir string) (*History, error) {
	m, err := readManifest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no copy: there is no %s", dir, manifestFile)
	}
	if err != nil {
		return nil, err
	}
	d := &disk{dir: dir, streams: map[string]*shelf{}}
	for _, name := range []string{bus.EventsStream, bus.WorkStream, bus.ReportsStream, bus.CheckpointsStream} {
		s, err := openShelf(filepath.Join(dir, name), m.Streams[name])
		if err != nil {
			return nil, errors.Join(fmt.Errorf("opening the copy: %w", err), d.close())
		}
		d.streams[name] = s
	}
	return &History{src: d}, nil
}

// shelf is one stream of a copy: its frames in order.
type shelf struct {
	files  []*os.File
	places []place
	// first and last are the sequences at the ends, as the copy says or as is there.
	first, last uint64
}

// place is a frame, or damage in its place.
type place struct {
	frame
	file   *os.File
	damage error
}

// openShelf reads the headers of all frames. What is damaged takes its place
// among them; half a frame after what the copy says that it holds is of a
// writer that was interrupted, and is no part of the copy.
func openShelf(dir string, said extent) (*shelf, error) {
	s := &shelf{last: said.Last}
	all, err := segmentsIn(dir)
	if err != nil {
		return nil, err
	}
	seen := uint64(0)
	if said.First > 0 {
		seen = said.First - 1
	}
	for i, path := range all {
		file, err := os.Open(path) //nolint:gosec // the user names it
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.files = append(s.files, file)
		info, err := file.Stat()
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		for at := int64(0); at < info.Size(); {
			f, next, err := readFrame(file, at, info.Size())
			if err == nil && f.First <= seen {
				err = fmt.Errorf("%d to %d again", f.First, f.Last)
			}
			if err != nil {
				if i < len(all)-1 || seen < said.Last {
					s.places = append(s.places, place{frame: frame{First: seen + 1, Last: seen + 1}, file: file,
						damage: fmt.Errorf("%s: %w at byte %d: %w; what follows in this file cannot be found", path, ErrDamaged, at, err)})
				}
				break
			}
			s.places = append(s.places, place{frame: f, file: file})
			at, seen = next, f.Last
		}
	}
	if seen < said.Last {
		s.places = append(s.places, place{frame: frame{First: said.Last, Last: said.Last},
			damage: fmt.Errorf("%s: %w: it ends with %d, and was written up to %d", dir, ErrDamaged, seen, said.Last)})
	}
	s.last = max(s.last, seen)
	if s.first = said.First; s.first == 0 && len(s.places) > 0 {
		s.first = s.places[0].First
	}
	return s, nil
}

func (s *shelf) close() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// lines are those of one place.
func (s *shelf) lines(p *place) ([]byte, error) {
	if p.damage != nil {
		return nil, p.damage
	}
	text, err := p.lines(p.file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: the frame at byte %d, with %d to %d: %w", p.file.Name(), ErrDamaged, p.at, p.First, p.Last, err)
	}
	return text, nil
}

// damaged is a place that can't be read.
type damaged struct {
	first uint64 // sequence in it
	error
}

func (d damaged) Unwrap() error { return d.error }

// all gives the stream's lines from a sequence on, and for what is damaged, its
// error, after which it goes on.
func (s *shelf) all(ctx context.Context, from uint64) iter.Seq2[*line, error] {
	return s.from(ctx, sort.Search(len(s.places), func(i int) bool { return s.places[i].Last >= from }), from)
}

// from is all from a place on.
func (s *shelf) from(ctx context.Context, i int, from uint64) iter.Seq2[*line, error] {
	return func(yield func(*line, error) bool) {
		for ; i < len(s.places); i++ {
			if err := ctx.Err(); err != nil {
				yield(nil, context.Cause(ctx))
				return
			}
			p := &s.places[i]
			text, err := s.lines(p)
			if err != nil {
				if !yield(nil, damaged{max(p.First, from), err}) {
					return
				}
				continue
			}
			next := p.First
			for len(text) > 0 {
				end := bytes.IndexByte(text, '\n')
				l := new(line)
				err := l.parse(text[:end])
				if err == nil && (l.Seq < next || l.Seq > p.Last) {
					err = fmt.Errorf("%d is out of place", l.Seq)
				}
				if text = text[end+1:]; err != nil {
					err = fmt.Errorf("%s: %w: the frame at byte %d, with %d to %d: after %d: %w",
						p.file.Name(), ErrDamaged, p.at, p.First, p.Last, next-1, err)
					if !yield(nil, damaged{max(next, from), err}) {
						return
					}
					break
				}
				next = l.Seq + 1
				if l.Seq >= from && !yield(l, nil) {
					return
				}
			}
		}
	}
}

func (d *disk) close() error {
	var errs []error
	for _, s := range d.streams {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

func (d *disk) bounds(context.Context) (first, last uint64, err error) {
	s := d.streams[bus.EventsStream]
	return s.first, s.last, nil
}

// record is the line as a record.
func (l *line) record() *eventlog.Record {
	r := &eventlog.Record{Seq: l.Seq, Prev: l.Prev, Epoch: l.Epoch, Writer: l.Writer, Data: l.body(l.Event)}
	if l.Error != "" {
		r.Err = errors.New(l.Error)
	}
	return r
}

func (d *disk) records(ctx context.Context, from uint64) iter.Seq2[*eventlog.Record, error] {
	return func(yield func(*eventlog.Record, error) bool) {
		for l, err := range d.streams[bus.EventsStream].all(ctx, from) {
			var r *eventlog.Record
			var bad damaged
			switch {
			case err == nil:
				r = l.record()
			case errors.As(err, &bad): // one for all that are damaged there: the rest is seen to be missing
				r = &eventlog.Record{Seq: bad.first, Err: err}
			default:
				yield(nil, err)
				return
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (d *disk) items(ctx context.Context, from uint64) iter.Seq2[work.Stored, error] {
	return func(yield func(work.Stored, error) bool) {
		for l, err := range d.streams[bus.WorkStream].all(ctx, from) {
			var st work.Stored
			if err == nil {
				st, err = l.stored()
			}
			if err != nil {
				yield(work.Stored{}, fmt.Errorf("reading work items: %w", err))
				return
			}
			if !yield(st, nil) {
				return
			}
		}
	}
}

func (l *line) stored() (work.Stored, error) {
	it, err := work.DecodeItem(l.Host, l.body(l.Item))
	if err != nil {
		return work.Stored{}, fmt.Errorf("at %d: %w", l.Seq, err)
	}
	return work.Stored{Item: it, Seq: l.Seq, Epoch: l.Epoch, Time: l.Time}, nil
}

func (d *disk) reports(ctx context.Context, from uint64) iter.Seq2[work.StoredReport, error] {
	return func(yield func(work.StoredReport, error) bool) {
		for l, err := range d.streams[bus.ReportsStream].all(ctx, from) {
			if err != nil {
				yield(work.StoredReport{}, fmt.Errorf("reading reports: %w", err))
				return
			}
			st := work.StoredReport{Stored: l.Time}
			if st.Report, st.Err = work.DecodeReport(l.Host, l.body(l.Report)); st.Err != nil {
				st.Report = work.Report{Host: l.Host}
			}
			if st.Seq = l.Seq; !yield(st, nil) {
				return
			}
		}
	}
}

func (d *disk) checkpoints(ctx context.Context) ([]eventlog.Checkpoint, error) {
	var all []eventlog.Checkpoint
	for l, err := range d.streams[bus.CheckpointsStream].all(ctx, 0) {
		var c eventlog.Checkpoint
		if err == nil {
			err = json.Unmarshal(l.body(l.Checkpoint), &c)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the checkpoints: %w", err)
		}
		c.Place = l.Seq
		all = append(all, c)
	}
	return all, nil
}

// seqAt looks into the last frame that holds a record received by then.
func (d *disk) seqAt(ctx context.Context, t time.Time) (uint64, error) {
	s := d.streams[bus.EventsStream]
	for i := len(s.places) - 1; i >= 0; i-- {
		p := &s.places[i]
		if p.damage != nil {
			return 0, p.damage
		}
		if p.From.After(t) {
			continue
		}
		if !p.To.After(t) {
			return p.Last, nil
		}
		var found uint64
		for l, err := range s.from(ctx, i, 0) {
			if err != nil {
				return 0, err
			}
			if l.Seq > p.Last {
				break
			}
			e, err := l.record().Entry()
			if err != nil {
				return 0, err
			}
			if !e.Event.Received.After(t) {
				found = l.Seq
			}
		}
		if found > 0 {
			return found, nil
		}
	}
	return 0, nil
}

func (d *disk) workAt(ctx context.Context, cause uint64) (uint64, error) {
	s := d.streams[bus.WorkStream]
	for i := range s.places {
		if s.places[i].damage == nil && s.places[i].High < cause {
			continue
		}
		for l, err := range s.from(ctx, i, 0) {
			if err != nil {
				return 0, err
			}
			st, err := l.stored()
			if err != nil || st.Item.Cause >= cause {
				return st.Seq, err
			}
		}
	}
	return s.last + 1, nil
}

func (d *disk) reportsAt(ctx context.Context, t time.Time) (uint64, error) {
	s := d.streams[bus.ReportsStream]
	for i := range s.places {
		if s.places[i].damage == nil && s.places[i].To.Before(t) {
			continue
		}
		for l, err := range s.from(ctx, i, 0) {
			if err != nil {
				return 0, err
			}
			if !l.Time.Before(t) {
				return l.Seq, nil
			}
		}
	}
	return s.last + 1, nil
}
