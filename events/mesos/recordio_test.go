package mesos

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/mesos/mesos-go/api/v1/lib/recordio"
)

func records(r io.Reader, limit int64) (recs []string, err error) {
	rr := NewRecordReader(r, limit)
	for {
		b, err := rr.Next()
		if err != nil {
			return recs, err
		}
		recs = append(recs, string(b))
	}
}

func TestRecords(t *testing.T) {
	for name, tt := range map[string]struct {
		in   string
		want []string
		err  error
	}{
		"none":                    {"", nil, io.EOF},
		"some":                    {"1\na0\n3\nb\nc", []string{"a", "", "b\nc"}, io.EOF},
		"leading zeros":           {"003\nabc", []string{"abc"}, io.EOF},
		"cut in a header":         {"1\na1", []string{"a"}, io.ErrUnexpectedEOF},
		"cut after a header":      {"1\na1\n", []string{"a"}, io.ErrUnexpectedEOF},
		"cut in a record":         {"5\nab", nil, io.ErrUnexpectedEOF},
		"no length":               {"\n", nil, ErrFraming},
		"not digits":              {"1\na{}", []string{"a"}, ErrFraming},
		"a sign":                  {"+1\na", nil, ErrFraming},
		"a space":                 {" 1\na", nil, ErrFraming},
		"over the limit":          {"17\n" + strings.Repeat("x", 17), nil, ErrTooLarge},
		"at the limit":            {"16\n" + strings.Repeat("x", 16), []string{strings.Repeat("x", 16)}, io.EOF},
		"more than 64 bits":       {strings.Repeat("9", 30) + "\n", nil, ErrTooLarge},
		"a header without an end": {strings.Repeat("0", 1000), nil, ErrFraming},
	} {
		for way, r := range map[string]io.Reader{
			"at once": strings.NewReader(tt.in), "byte by byte": iotest.OneByteReader(strings.NewReader(tt.in)),
			"with the error": iotest.DataErrReader(strings.NewReader(tt.in)),
		} {
			got, err := records(r, 16)
			if strings.Join(got, "|") != strings.Join(tt.want, "|") || !errors.Is(err, tt.err) {
				t.Errorf("%s, %s: %q, %v; want %q, %v", name, way, got, err, tt.want, tt.err)
			}
		}
	}
}

func TestAReadErrorIsPassedOn(t *testing.T) {
	broken := errors.New("broken")
	for _, in := range []string{"", "1", "3\nab"} {
		if _, err := records(io.MultiReader(strings.NewReader(in), iotest.ErrReader(broken)), 16); !errors.Is(err, broken) {
			t.Errorf("after %q: %v", in, err)
		}
	}
}

// TestALengthThatIsOnlyAnnouncedCostsNothing: memory grows with what arrives.
func TestALengthThatIsOnlyAnnouncedCostsNothing(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := records(strings.NewReader("1000000000\nabc"), 1<<30); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if d := after.TotalAlloc - before.TotalAlloc; d > 1<<20 {
		t.Errorf("%d bytes were allocated for a record that never came", d)
	}
}

func TestALargeRecordIsNotHeldForEver(t *testing.T) {
	big := strings.Repeat("x", 8<<20)
	rr := NewRecordReader(strings.NewReader(frame(big)+frame("a")), 1<<30)
	if b, err := rr.Next(); err != nil || len(b) != len(big) {
		t.Fatal(len(b), err)
	}
	if b, err := rr.Next(); err != nil || string(b) != "a" || rr.buf.Cap() > 1<<20 {
		t.Errorf("%q, %v, %d bytes held", b, err, rr.buf.Cap())
	}
}

// FuzzRecordReader compares with mesos-go's reader where that has a say.
func FuzzRecordReader(f *testing.F) {
	f.Add([]byte("1\na0\n3\nb\nc"))
	f.Add([]byte("20\n{\"type\":\"HEARTBEAT\"}5\nx"))
	f.Add([]byte("99999999999999999999999\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 1 << 12
		got, err := records(bytes.NewReader(in), limit)
		if err == nil {
			t.Fatal("it never ends")
		}
		bytewise, berr := records(iotest.OneByteReader(bytes.NewReader(in)), limit)
		if strings.Join(got, "|") != strings.Join(bytewise, "|") || err.Error() != berr.Error() {
			t.Fatalf("byte by byte: %q, %v; at once: %q, %v", bytewise, berr, got, err)
		}
		if !errors.Is(err, io.EOF) {
			return
		}
		var again bytes.Buffer // what was read whole is RecordIO to mesos-go, too
		for _, r := range got {
			if r == "" {
				return // which mesos-go does not return
			}
			again.WriteString(frame(r))
		}
		theirs := recordio.NewReader(&again, recordio.MaxMessageSize(limit))
		for i, r := range got {
			var b []byte
			b, err := theirs.ReadFrame()
			if err != nil && !errors.Is(err, io.EOF) || string(b) != r {
				t.Fatalf("record %d: %q, %v; mesos-go: %q", i, r, err, b)
			}
		}
	})
}
