package mesos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/events/connect"
)

// maxHops is how many redirects are followed from one member: a standby leads
// to the leader in one, or in two during a change of leaders.
const maxHops = 4

// client speaks to the leading master.
type client struct {
	cfg     *Config
	http    *http.Client
	members *connect.Members
	leader  *url.URL // where the last subscription was served; tried first
	failed  *url.URL // where the last one gave no snapshot; tried last
}

func newClient(cfg *Config) (*client, error) {
	members, err := connect.ParseMembers(cfg.Masters, cfg.TLS != nil,
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

// subscribe finds the leader and returns the answer to SUBSCRIBE. The caller
// closes its body.
func (c *client) subscribe(ctx context.Context) (*http.Response, error) {
	var failures []error
	for _, member := range c.members.From(c.leader, c.failed) {
		resp, at, err := c.follow(ctx, member, master.Call_SUBSCRIBE)
		if err == nil {
			c.leader = at
			return resp, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		failures = append(failures, err)
	}
	return nil, fmt.Errorf("%w: %w", ErrNoLeader, errors.Join(failures...))
}

// get makes a call that has a type and nothing else to the leader that serves
// the subscription. A redirect is an error: there is another leader.
func (c *client) get(ctx context.Context, leader *url.URL, t master.Call_Type) (wireResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	resp, err := c.post(ctx, leader, t)
	if err != nil {
		return wireResponse{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return wireResponse{}, fmt.Errorf("%v: %w", t, c.members.Refused(resp))
	}
	enc, err := encodingOf(resp.Header.Get("Content-Type"))
	if err != nil {
		return wireResponse{}, fmt.Errorf("%v from %s: %w", t, leader.Host, err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, c.cfg.MaxRecord+1))
	if err == nil && int64(len(body)) > c.cfg.MaxRecord {
		err = ErrTooLarge
	}
	if err != nil {
		return wireResponse{}, fmt.Errorf("reading the answer to %v from %s: %w", t, leader.Host, err)
	}
	w, err := enc.response(body)
	if err != nil {
		err = fmt.Errorf("answer to %v from %s: %w", t, leader.Host, err)
	}
	return w, err
}

// follow makes a call to a member and goes where it is sent, until a master
// answers it.
func (c *client) follow(ctx context.Context, base *url.URL, t master.Call_Type) (*http.Response, *url.URL, error) {
	for range maxHops {
		resp, err := c.post(ctx, base, t)
		if err != nil {
			return nil, nil, err
		}
		if resp.StatusCode == http.StatusOK {
			return resp, base, nil
		}
		next, moved := connect.Redirect(resp)
		err = fmt.Errorf("%v: %w", t, c.members.Refused(resp))
		resp.Body.Close()
		if !moved {
			return nil, nil, err
		}
		base = next
	}
	return nil, nil, fmt.Errorf("%s: more than %d redirects", base.Host, maxHops)
}

func (c *client) post(ctx context.Context, base *url.URL, t master.Call_Type) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base.String()+"/api/v1", bytes.NewReader(c.cfg.Encoding.call(t)))
	if err != nil {
		return nil, fmt.Errorf("%v to %s: %w", t, base.Host, err)
	}
	req.Header.Set("Content-Type", c.cfg.Encoding.mediaType())
	req.Header.Set("Accept", c.cfg.Encoding.mediaType())
	c.members.Authorize(req)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%v to %s: %w", t, base.Host, err)
	}
	return resp, nil
}
