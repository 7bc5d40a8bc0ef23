package connect

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ErrNoLeader means that no server of the list is, or leads to, the leader.
var ErrNoLeader = errors.New("no leader found")

// Config says where the servers are and how to speak to them. Only Servers must
// be set.
type Config struct {
	// Servers are "host:port", or URLs of no more than scheme and host.
	Servers     []string
	Credentials Credentials
	// TLS is used for https, and makes it the scheme of servers given without one.
	TLS *tls.Config
	// Patience bounds the wait for an answer's headers, not for its body.
	Patience time.Duration
	Dial     Dialer // default net.Dialer
}

// Client speaks to the servers that the operator has named, and to those that
// they redirect to. Find and Served are for one goroutine.
type Client struct {
	members *members
	http    *http.Client
	led     *url.URL // where the last answer was found; tried first
	failed  *url.URL // where the last one led to nothing; tried last
}

// NewClient checks the servers' addresses.
func NewClient(cfg Config) (*Client, error) {
	members, err := parseMembers(cfg.Servers, cfg.TLS != nil, cfg.Credentials)
	if err != nil {
		return nil, err
	}
	return &Client{members: members, http: newHTTP(cfg.TLS, cfg.Patience, cfg.Dial)}, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// First is the server that was named first.
func (c *Client) First() *url.URL { return c.members.urls[0] }

// Do sends a request, with the credentials if it goes to a member. It follows
// no redirect.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	c.members.authorize(req)
	return c.http.Do(req)
}

// maxHops is how many redirects are followed from one member: a standby leads
// to the leader in one, or in two during a change of leaders.
const maxHops = 4

// Find asks one member after the other, and goes where they redirect, until a
// server answers 200: the leader. The caller closes the body.
func (c *Client) Find(ctx context.Context, ask func(ctx context.Context, base *url.URL) (*http.Response, error)) (*http.Response, *url.URL, error) {
	var failures []error
	for _, member := range c.members.from(c.led, c.failed) {
		resp, at, err := c.follow(ctx, member, ask)
		if err == nil {
			c.led = at
			return resp, at, nil
		}
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		failures = append(failures, err)
	}
	return nil, nil, fmt.Errorf("%w: %w", ErrNoLeader, errors.Join(failures...))
}

func (c *Client) follow(ctx context.Context, base *url.URL, ask func(ctx context.Context, base *url.URL) (*http.Response, error)) (*http.Response, *url.URL, error) {
	for range maxHops {
		resp, err := ask(ctx, base)
		if err != nil {
			return nil, nil, err
		}
		if resp.StatusCode == http.StatusOK {
			return resp, base, nil
		}
		next, moved := redirect(resp)
		err = c.Refused(resp)
		resp.Body.Close()
		if !moved {
			return nil, nil, err
		}
		base = next
	}
	return nil, nil, fmt.Errorf("%s: more than %d redirects", base.Host, maxHops)
}

// Served notes whether the leader that was found gave what a session begins
// with. One that does not, though it answers, must not keep us from asking the
// others.
func (c *Client) Served(ok bool) {
	if ok {
		c.failed = nil
	} else {
		c.led, c.failed = nil, c.led
	}
}

// Refused is the error for an answer that is not what was asked for. The
// caller closes its body.
func (c *Client) Refused(resp *http.Response) error {
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // the status is the error; the text only helps
	text := strings.ToValidUTF8(strings.TrimSpace(string(said)), "?")
	if text != "" {
		text = ": " + text
	}
	u := resp.Request.URL
	if resp.StatusCode == http.StatusUnauthorized && c.members.withheld(u) {
		text += fmt.Sprintf(" (it was not given the credentials, because %s://%s is not among the configured servers)", u.Scheme, u.Host)
	}
	return fmt.Errorf("%s says %s%s", u.Host, resp.Status, text)
}
