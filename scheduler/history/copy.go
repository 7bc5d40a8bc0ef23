package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
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
	if len(s.places) > 0 && s.places[0].First > said.First && said.First > 0 {
		s.places = slices.Insert(s.places, 0, place{frame: frame{First: said.First, Last: s.places[0].First - 1},
			damage: fmt.Errorf("%s: %w: %d to %d are not there", dir, ErrDamaged, said.First, s.places[0].First-1)})
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
	first uint64    // sequence in it
	at    time.Time // of its first message, if the header is whole
	error
}

func (d damaged) Unwrap() error { return d.error }

// all gives the stream's lines from a sequence on, and for what is damaged, its
// error, after which it goes on.
func (s *shelf) all(ctx context.Context, from uint64) iter.Seq2[*line, error] {
	return s.from(ctx, s.places[sort.Search(len(s.places), func(i int) bool { return s.places[i].Last >= from }):], from)
}

// from gives the lines of some places. A line is good until the next one is
// asked for. While the lines of a place are used, the next place is read.
func (s *shelf) from(ctx context.Context, places []place, from uint64) iter.Seq2[*line, error] {
	return func(yield func(*line, error) bool) {
		a := &ahead{lines: make(chan []read), used: make(chan []read, 2), stop: make(chan struct{})}
		go func() {
			defer close(a.lines)
			for i := range places {
				if !s.read(&places[i], from, a) {
					return
				}
			}
		}()
		defer func() {
			close(a.stop)
			for range a.lines { // it reads files that may be closed next
			}
		}()
		for some := range a.lines {
			if err := ctx.Err(); err != nil {
				yield(nil, context.Cause(ctx))
				return
			}
			for i := range some {
				if !yield(some[i].get()) {
					return
				}
			}
			select {
			case a.used <- some:
			default:
			}
		}
	}
}

// ahead hands lines from who reads them to who uses them, some at a time.
type ahead struct {
	lines chan []read
	used  chan []read // to be filled again
	stop  chan struct{}
}

// someLines is how many lines are handed over at a time.
const someLines = 256

// room is an empty list for n lines or for someLines, what is less.
func (a *ahead) room(n int) []read {
	select {
	case some := <-a.used:
		return some[:0]
	default:
		return make([]read, 0, min(n, someLines))
	}
}

// give is false when nobody takes any more.
func (a *ahead) give(some []read) bool {
	select {
	case a.lines <- some:
		return true
	case <-a.stop:
		return false
	}
}

// read is a line that was read, or why it could not be.
type read struct {
	line line
	err  error
}

func (r *read) get() (*line, error) {
	if r.err != nil {
		return nil, r.err
	}
	return &r.line, nil
}

// read gives the lines of a place from a sequence on, until it is told to stop.
// Where one is damaged, its error is the last. The header of a frame that is
// read whole is compared with its lines; where it is of others, the last line
// is damage.
func (s *shelf) read(p *place, from uint64, a *ahead) bool {
	text, err := s.lines(p)
	if err != nil {
		return a.give([]read{{err: damaged{max(p.First, from), p.From, err}}})
	}
	some := a.room(p.Lines)
	next, counted, whole := p.First, frame{}, from <= p.First
	for len(text) > 0 {
		end := bytes.IndexByte(text, '\n')
		if len(some) == someLines {
			if !a.give(some) {
				return false
			}
			some = a.room(someLines)
		}
		some = append(some, read{})
		r := &some[len(some)-1]
		l := &r.line
		err := l.parse(text[:end])
		if err == nil && (l.Seq < next || l.Seq > p.Last) {
			err = fmt.Errorf("%d is out of place", l.Seq)
		}
		text = text[end+1:]
		if whole && err == nil {
			var key uint64
			var at time.Time
			if key, at, whole = l.mark(); whole {
				counted.add(l.Seq, key, at)
			}
			if whole && len(text) == 0 && !p.says(&counted) {
				err = errors.New("its header is of other lines")
			}
		}
		if err != nil {
			r.err = damaged{max(next, from), p.From, fmt.Errorf("%s: %w: the frame at byte %d, with %d to %d: after %d: %w",
				p.file.Name(), ErrDamaged, p.at, p.First, p.Last, next-1, err)}
			break
		}
		if next = l.Seq + 1; l.Seq < from {
			some = some[:len(some)-1]
		}
	}
	return a.give(some)
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

func (d *disk) records(ctx context.Context, from uint64) iter.Seq2[*eventlog.Record, error] {
	return func(yield func(*eventlog.Record, error) bool) {
		for l, err := range d.streams[bus.EventsStream].all(ctx, from) {
			if err == nil {
				if !yield(l.record(), nil) {
					return
				}
				continue
			}
			var bad damaged
			if !errors.As(err, &bad) {
				yield(nil, err)
				return
			}
			// One for all that are damaged there: the rest is seen to be missing.
			if !yield(&eventlog.Record{Seq: bad.first, Err: err}, nil) {
				return
			}
		}
	}
}

func (d *disk) items(ctx context.Context, from uint64) iter.Seq2[work.Stored, error] {
	return func(yield func(work.Stored, error) bool) {
		for l, err := range d.streams[bus.WorkStream].all(ctx, from) {
			if err == nil {
				if !yield(*l.stored(), nil) {
					return
				}
				continue
			}
			var bad damaged
			if !errors.As(err, &bad) {
				yield(work.Stored{}, fmt.Errorf("reading work items: %w", err))
				return
			}
			if !yield(work.Stored{Seq: bad.first, Time: bad.at, Err: err}, nil) {
				return
			}
		}
	}
}

func (d *disk) reports(ctx context.Context, from uint64) iter.Seq2[work.StoredReport, error] {
	return func(yield func(work.StoredReport, error) bool) {
		for l, err := range d.streams[bus.ReportsStream].all(ctx, from) {
			if err == nil {
				st := work.StoredReport{Stored: l.Time, Data: l.body(l.Report)}
				if st.Report, st.Err = work.DecodeReport(l.Host, st.Data); st.Err != nil {
					st.Report = work.Report{Host: l.Host}
				}
				if st.Seq = l.Seq; !yield(st, nil) {
					return
				}
				continue
			}
			var bad damaged
			if !errors.As(err, &bad) {
				yield(work.StoredReport{}, fmt.Errorf("reading reports: %w", err))
				return
			}
			st := work.StoredReport{Stored: bad.at, Err: err}
			if st.Seq = bad.first; !yield(st, nil) {
				return
			}
		}
	}
}

func (d *disk) checkpoints(ctx context.Context) ([]eventlog.Checkpoint, error) {
	var all []eventlog.Checkpoint
	for l, err := range d.streams[bus.CheckpointsStream].all(ctx, 0) {
		var bad damaged
		switch {
		case err == nil:
			all = append(all, eventlog.ReadCheckpoint(l.Seq, l.body(l.Checkpoint)))
		case errors.As(err, &bad):
			all = append(all, eventlog.Checkpoint{Place: bad.first, Err: err})
		default:
			return nil, fmt.Errorf("reading the checkpoints: %w", err)
		}
	}
	return all, nil
}

// lastSigned looks at the last frame of checkpoints alone.
func (d *disk) lastSigned(ctx context.Context) (uint64, error) {
	s := d.streams[bus.CheckpointsStream]
	if len(s.places) == 0 {
		return 0, nil
	}
	var all []eventlog.Checkpoint
	for l, err := range s.from(ctx, s.places[len(s.places)-1:], 0) {
		if err != nil {
			return 0, fmt.Errorf("reading the checkpoints: %w", err)
		}
		all = append(all, eventlog.ReadCheckpoint(l.Seq, l.body(l.Checkpoint)))
	}
	return lastOf(all), nil
}

// around reads a place and the one after it or before it, whole: so that their
// headers, by which the place was found, are compared with what they hold.
func (s *shelf) around(ctx context.Context, first, last int, see func(*line) error) error {
	first, last = max(first, 0), min(last, len(s.places)-1)
	if first > last {
		return nil
	}
	for l, err := range s.from(ctx, s.places[first:last+1], 0) {
		if err != nil {
			return err
		}
		if err := see(l); err != nil {
			return err
		}
	}
	return nil
}

// seqAt looks into the last frame that holds a record received by then, and
// the one after it.
func (d *disk) seqAt(ctx context.Context, t time.Time) (found uint64, err error) {
	s := d.streams[bus.EventsStream]
	i := len(s.places) - 1
	for ; i >= 0; i-- {
		p := &s.places[i]
		if p.damage != nil {
			return 0, p.damage
		}
		if !p.From.After(t) {
			break
		}
	}
	err = s.around(ctx, i, i+1, func(l *line) error {
		e, err := l.record().Entry()
		if err == nil && !e.Event.Received.After(t) {
			found = l.Seq
		}
		return err
	})
	return found, err
}

// reportsAt looks into the first frame with a report stored then or later, and
// the one before it. Where they are damaged, it is their place.
func (d *disk) reportsAt(ctx context.Context, t time.Time) (found uint64, err error) {
	s := d.streams[bus.ReportsStream]
	i := 0
	for i < len(s.places) && s.places[i].damage == nil && s.places[i].To.Before(t) {
		i++
	}
	err = s.around(ctx, i-1, i, func(l *line) error {
		if found == 0 && !l.Time.Before(t) {
			found = l.Seq
		}
		return nil
	})
	if errors.Is(err, ErrDamaged) { // it is told by who reads on from there
		return s.places[max(i-1, 0)].First, nil
	}
	if found == 0 {
		found = s.last + 1
	}
	return found, err
}
