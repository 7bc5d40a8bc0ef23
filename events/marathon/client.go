package marathon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/taskwall/taskwall/events/connect"
)

// maxHops is how many redirects are followed from one member: a standby leads
// to the leader in one, or in two during a change of leaders.
const maxHops = 4

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
	cfg     *Config
	http    *http.Client
	members *connect.Members
	leader  *url.URL // where the last stream was served; tried first
	name    string   // of that leader, as it calls itself; "" if it was not said
	failed  *url.URL // where the last one gave no snapshot; tried last
}

func newClient(cfg *Config) (*client, error) {
	members, err := connect.ParseMembers(cfg.Members, cfg.TLS != nil,
		connect.Credentials{User: cfg.User, Password: cfg.Password, Token: cfg.Token})
	if err != nil {
		return nil, err
	}
	return &client{cfg: cfg, members: members, http: connect.NewClient(cfg.TLS, cfg.CallTimeout, cfg.Dial)}, nil
}

// served notes whether the leader gave what a session begins with. One that
// does not, though it answers, must not keep us from asking the others.
func (c *client) served(ok bool) {
	if ok {
		c.failed = nil
	} else {
		c.leader, c.failed = nil, c.leader
	}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// events finds the leader and opens its stream. The caller closes the body.
func (c *client) events(ctx context.Context) (*http.Response, error) {
	var failures []error
	for _, member := range c.members.From(c.leader, c.failed) {
		resp, at, err := c.follow(ctx, member)
		if err == nil {
			c.leader, c.name = at, resp.Header.Get(leaderHeader)
			return resp, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		failures = append(failures, err)
	}
	return nil, fmt.Errorf("%w: %w", ErrNoLeader, errors.Join(failures...))
}

// follow opens the stream at a member and goes where it is sent: a standby
// redirects for the stream (and proxies all else, CLUSTER-API 1.2).
func (c *client) follow(ctx context.Context, base *url.URL) (*http.Response, *url.URL, error) {
	for range maxHops {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.String()+"/v2/events?"+hints.Encode(), nil)
		if err != nil {
			return nil, nil, err
		}
		req.Header.Set("Accept", "text/event-stream") // exactly this, or it is 405
		c.members.Authorize(req)
		resp, err := c.http.Do(req)
		if err != nil {
			return nil, nil, err
		}
		if resp.StatusCode == http.StatusOK {
			return resp, base, nil
		}
		next, moved := connect.Redirect(resp)
		err = c.members.Refused(resp)
		resp.Body.Close()
		if !moved {
			return nil, nil, err
		}
		base = next
	}
	return nil, nil, fmt.Errorf("%s: more than %d redirects", base.Host, maxHops)
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
	c.members.Authorize(req)
	resp, err := c.http.Do(req)
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
		return fmt.Errorf("%w: %s: %w", errForbidden, path, c.members.Refused(resp))
	default:
		return c.members.Refused(resp)
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
