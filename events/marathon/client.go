package marathon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/taskwall/taskwall/events/connect"
)

// hints are the events that are asked for: see the package comment. Without
// the first there would be no sign that the stream is attached.
var hints = url.Values{"event_type": {
	"event_stream_attached",
	"group_change_success", "api_post_event", "app_terminated_event",
	"pod_created_event", "pod_updated_event", "pod_deleted_event",
	"deployment_info", "deployment_step_success", "deployment_step_failure",
	"deployment_success", "deployment_failed",
	"scheduler_registered_event", "scheduler_reregistered_event",
}}

// client speaks to the leader.
type client struct {
	*connect.Client
	cfg    *Config
	leader *url.URL // that serves the stream
	name   string   // of that leader, as it calls itself; "" if it was not said
}

func newClient(cfg *Config) (*client, error) {
	c, err := connect.NewClient(connect.Config{
		Servers: cfg.Members, TLS: cfg.TLS, Patience: cfg.CallTimeout, Dial: cfg.Dial,
		Credentials: connect.Credentials{User: cfg.User, Password: cfg.Password, Token: cfg.Token},
	})
	return &client{Client: c, cfg: cfg}, err
}

// events finds the leader and opens its stream: a standby redirects for it, and
// proxies all else (CLUSTER-API 1.2). The caller closes the body.
func (c *client) events(ctx context.Context) (*http.Response, error) {
	resp, leader, err := c.Find(ctx, func(ctx context.Context, base *url.URL) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.String()+"/v2/events?"+hints.Encode(), nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Accept", "text/event-stream") // exactly this, or it is 405
		return c.Do(req)
	})
	if err != nil {
		return nil, err
	}
	c.leader, c.name = leader, resp.Header.Get(leaderHeader)
	return resp, nil
}

// leaderHeader is in every answer of a leader, also when a standby passes it on
// (CLUSTER-API 1.1).
const leaderHeader = "X-Marathon-Leader"

// longest is how many times as long as Config.CallTimeout an answer may take
// to arrive that never falls silent: tens of megabytes from a busy Marathon.
const longest = 10

// get reads a REST resource of the leader into v. It returns errNotFound when
// Marathon says that there is none, errForbidden when it does not let us view
// it. What another leader says than the stream's is an error: half a picture of
// each would be one of none.
func (c *client) get(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, longest*c.cfg.CallTimeout)
	defer cancel()
	ctx, silence := context.WithCancelCause(ctx)
	defer silence(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.leader.String()+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if name := resp.Header.Get(leaderHeader); name != "" && c.name != "" && name != c.name {
		return fmt.Errorf("answer of %s to %s: it is of the leader %s, the stream is of %s", c.leader.Host, path, name, c.name)
	}
	switch {
	case resp.StatusCode == http.StatusOK:
	case resp.StatusCode == http.StatusNotFound && saysMarathon(resp):
		return errNotFound
	case resp.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%w: %s: %w", errForbidden, path, c.Refused(resp))
	default:
		return c.Refused(resp)
	}
	arriving := &connect.Watch{R: resp.Body, Patience: c.cfg.CallTimeout, Expired: func() { silence(ErrStalled) }}
	body, err := io.ReadAll(io.LimitReader(arriving, int64(c.cfg.MaxAnswer)+1))
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err == nil && len(body) > c.cfg.MaxAnswer {
		err = ErrTooLarge
	}
	if err == nil {
		err = lenient(json.Unmarshal(body, v))
	}
	if err != nil {
		return fmt.Errorf("answer of %s to %s: %w", c.leader.Host, path, err)
	}
	return nil
}

// saysMarathon reports whether an answer of 404 is Marathon's, and not that of
// something in between: it names its leader, or holds a message
// (CLUSTER-API 2). It reads the body.
func saysMarathon(resp *http.Response) bool {
	if resp.Header.Get(leaderHeader) != "" {
		return true
	}
	var w struct {
		Message *json.RawMessage `json:"message"`
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
	resp.Body = io.NopCloser(bytes.NewReader(body)) // for the error that quotes it
	return err == nil && json.Unmarshal(body, &w) == nil && w.Message != nil
}

// maxMessage bounds what is read of a refusal, in bytes.
const maxMessage = 64 << 10
