package history

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// frame says what one zstd frame of a segment holds; see the package comment.
type frame struct {
	First  uint64    `json:"first"`
	Last   uint64    `json:"last"`
	Lines  int       `json:"lines"`
	Low    uint64    `json:"low"`
	High   uint64    `json:"high"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Bytes  int       `json:"bytes"`
	Packed int       `json:"packed"`

	at int64 // of the zstd frame in its file
}

// add counts a line in.
func (f *frame) add(seq, key uint64, at time.Time) {
	if at = at.UTC(); f.Lines == 0 {
		f.First, f.Low, f.High, f.From, f.To = seq, key, key, at, at
	}
	f.Last, f.Lines = seq, f.Lines+1
	f.Low, f.High = min(f.Low, key), max(f.High, key)
	if at.Before(f.From) {
		f.From = at
	}
	if at.After(f.To) {
		f.To = at
	}
}

// says tells whether the header is of the lines that were counted.
func (f *frame) says(c *frame) bool {
	return f.First == c.First && f.Last == c.Last && f.Lines == c.Lines && f.Low == c.Low && f.High == c.High &&
		f.From.Equal(c.From) && f.To.Equal(c.To)
}

const (
	// skippable is the magic number of the frames that carry the headers, the
	// eighth of those that RFC 8878, 3.1.2, leaves to applications.
	skippable = 0x184D2A57
	// maxHeader bounds a header, maxFrame the lines of a frame, in bytes: a line
	// can be as large as a stored message unpacked, in base64.
	maxHeader = 4 << 10
	maxFrame  = 128 << 20
	// fullFrame is the size in bytes from which a frame is closed.
	fullFrame = 1 << 20
)

var encoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	if err != nil {
		panic(err) // the options are constant
	}
	return e
})

var decoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxSnapshot))
	if err != nil {
		panic(err)
	}
	return d
})

// pack is the frame with its header as they lie in a segment.
func (f *frame) pack(lines []byte) ([]byte, error) {
	packed := encoder().EncodeAll(lines, make([]byte, 0, len(lines)/4))
	f.Bytes, f.Packed = len(lines), len(packed)
	head, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	head = append(head, '\n')
	out := binary.LittleEndian.AppendUint32(make([]byte, 0, 8+len(head)+len(packed)), skippable)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(head))) //nolint:gosec // a short line
	out = append(out, head...)
	f.at = int64(len(out))
	return append(out, packed...), nil
}

// errTorn means that a segment ends within a frame.
var errTorn = errors.New("ends within a frame")

// readFrame reads the header at an offset of a segment of the given size, and
// gives the offset of what follows the frame.
func readFrame(r io.ReaderAt, at, size int64) (f frame, next int64, err error) {
	var head [8]byte
	if size-at < int64(len(head)) {
		return f, at, errTorn
	}
	if _, err := r.ReadAt(head[:], at); err != nil {
		return f, at, err
	}
	if binary.LittleEndian.Uint32(head[:]) != skippable {
		return f, at, errors.New("no header of a frame")
	}
	n := int64(binary.LittleEndian.Uint32(head[4:]))
	if n > maxHeader {
		return f, at, fmt.Errorf("a header of %d bytes", n)
	}
	if size-at-8 < n {
		return f, at, errTorn
	}
	text := make([]byte, n)
	if _, err := r.ReadAt(text, at+8); err != nil {
		return f, at, err
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return f, at, fmt.Errorf("reading a header: %w", err)
	}
	if f.First == 0 || f.Last < f.First || f.Lines < 1 || f.Bytes < 1 || f.Bytes > maxFrame || f.Packed < 1 || f.Packed > maxFrame {
		return f, at, fmt.Errorf("a header that cannot be: %s", bytes.TrimSpace(text))
	}
	f.at = at + 8 + n
	if next = f.at + int64(f.Packed); next > size {
		return f, at, errTorn
	}
	return f, next, nil
}

// lines are the frame's, in a buffer that is not used again.
func (f *frame) lines(r io.ReaderAt) ([]byte, error) {
	packed := make([]byte, f.Packed)
	if _, err := r.ReadAt(packed, f.at); err != nil {
		return nil, err
	}
	text, err := decoder().DecodeAll(packed, make([]byte, 0, f.Bytes))
	if err != nil {
		return nil, err
	}
	if len(text) != f.Bytes || text[len(text)-1] != '\n' || bytes.Count(text, []byte{'\n'}) != f.Lines {
		return nil, errors.New("not as long as its header says")
	}
	return text, nil
}
