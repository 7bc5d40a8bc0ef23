package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ConnectReader is Connect for who only reads the streams, with the
// controller's key or the auditor's: it finds out which way the requests go.
// A key that may not read them is ErrDenied.
func ConnectReader(ctx context.Context, o Options) (*Conn, error) {
	c, err := Connect(ctx, o)
	if err != nil || o.Auditor {
		return c, err
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	msg, err := c.Request(ctx, &nats.Msg{Subject: apiPrefix + "INFO"})
	switch {
	case errors.Is(err, ErrDenied):
		c.Close()
		return nil, fmt.Errorf("reading the streams with this key: %w; the auditor's may, see docs/nats.md", ErrDenied)
	case err == nil && json.Unmarshal(msg.Data, &answer) == nil && answer.Error != nil &&
		answer.Error.ErrorCode == jetstream.JSErrCodeJetStreamNotEnabledForAccount:
		if err := c.requestWith(auditPrefix); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil // any other trouble shows at the first read
}

// requestWith has the JetStream requests go to subjects with a prefix.
func (c *Conn) requestWith(prefix string) (err error) {
	c.JS, err = jetstream.NewWithAPIPrefix(c.NATS, strings.TrimSuffix(prefix, "."),
		jetstream.WithDefaultTimeout(requestTimeout), jetstream.WithPublishAsyncTimeout(requestTimeout))
	if err != nil {
		return fmt.Errorf("connecting to the message bus: %w", err)
	}
	return nil
}
