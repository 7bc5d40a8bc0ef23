package mesos

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"

	"github.com/mesos/mesos-go/api/v1/lib/master"
)

// Encoding is how a master is asked to speak.
type Encoding string

// The encodings. Protobuf is smaller and faster to read; JSON serves masters
// behind proxies that look into it. Both fold to the same picture.
const (
	Protobuf Encoding = "protobuf"
	JSON     Encoding = "json"
)

func (e Encoding) mediaType() string {
	if e == JSON {
		return "application/json"
	}
	return "application/x-protobuf"
}

// encodingOf is the encoding of an answer, whatever was asked for.
func encodingOf(contentType string) (Encoding, error) {
	media, _, err := mime.ParseMediaType(contentType)
	switch {
	case err == nil && media == JSON.mediaType():
		return JSON, nil
	case err == nil && media == Protobuf.mediaType():
		return Protobuf, nil
	}
	return "", fmt.Errorf("%w %q", ErrContentType, contentType)
}

// call is the body of a call that has a type and nothing else.
func (e Encoding) call(t master.Call_Type) []byte {
	if e == JSON {
		return []byte(`{"type":"` + t.String() + `"}`)
	}
	b, err := (&master.Call{Type: t}).Marshal()
	if err != nil {
		panic(fmt.Sprintf("mesos: a call of type %v cannot be encoded: %v", t, err)) // a single enum always can
	}
	return b
}

// event decodes a record. What errPartial comes with is right, but not all.
func (e Encoding) event(b []byte) (w wireEvent, err error) {
	if e == JSON {
		err = lenient(json.Unmarshal(b, &w))
		return w, err
	}
	return decodeEvent(b)
}

// response decodes an answer to a GET call, as event does a record.
func (e Encoding) response(b []byte) (w wireResponse, err error) {
	if e == JSON {
		err = lenient(json.Unmarshal(b, &w))
		return w, err
	}
	return decodeResponse(b)
}

// lenient makes a value of the wrong type no reason to lose what is around it:
// encoding/json skips such a value, decodes the rest and then says so.
func lenient(err error) error {
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return errPartial{err}
	}
	return err
}

// errPartial: what could be read of a record is right, but it was not all.
type errPartial struct{ error }

func (e errPartial) Unwrap() error { return e.error }
