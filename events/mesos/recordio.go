package mesos

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxHeader is the longest record header: the digits of a 64-bit length.
const maxHeader = 20

// RecordReader reads RecordIO: the length of each record in decimal digits, a
// newline, and the record ([A] docs/recordio.md). The one in mesos-go stops at
// 4 MiB, or allocates half of a greater limit at once (CLUSTER-API 6.1); this
// one grows with what arrives, so that a length that is announced but never
// sent costs nothing.
type RecordReader struct {
	r   *bufio.Reader
	buf bytes.Buffer
	max int64
}

// NewRecordReader reads records of at most limit bytes from r.
func NewRecordReader(r io.Reader, limit int64) *RecordReader {
	return &RecordReader{r: bufio.NewReaderSize(r, 64<<10), max: limit}
}

// Next returns the next record. It is valid until the next call. At the end of
// the stream between records it returns io.EOF, within one
// io.ErrUnexpectedEOF; after any error the stream has lost its place.
func (r *RecordReader) Next() ([]byte, error) {
	n, err := r.header()
	if err != nil {
		return nil, err
	}
	if r.buf.Cap() > 1<<20 && n < int64(r.buf.Cap())/4 {
		r.buf = bytes.Buffer{} // a huge first record should not be held for ever
	}
	r.buf.Reset()
	if _, err := io.CopyN(&r.buf, r.r, n); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("record of %d bytes ended after %d: %w", n, r.buf.Len(), err)
	}
	return r.buf.Bytes(), nil
}

func (r *RecordReader) header() (int64, error) {
	var n int64
	for i := 0; ; i++ {
		c, err := r.r.ReadByte()
		switch {
		case err != nil && i > 0 && errors.Is(err, io.EOF):
			return 0, fmt.Errorf("header: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return 0, err
		case c == '\n' && i > 0:
			return n, nil
		case c < '0' || c > '9' || i == maxHeader:
			return 0, fmt.Errorf("%w: byte %q in the length", ErrFraming, c)
		}
		if n = n*10 + int64(c-'0'); n > r.max {
			return 0, fmt.Errorf("record of %d bytes or more, limit %d: %w", n, r.max, ErrTooLarge)
		}
	}
}
