package mesos

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/master"
)

// maxHops is how many redirects are followed from one member: a standby leads
// to the leader in one, or in two during a change of leaders.
const maxHops = 4

// client speaks to the leading master.
type client struct {
	cfg     *Config
	http    *http.Client
	members []*url.URL
	leader  *url.URL // where the last subscription was served; tried first
}

func newClient(cfg *Config) (*client, error) {
	c := &client{cfg: cfg, http: &http.Client{
		Transport: &http.Transport{
			DialContext:           cfg.Dial,
			TLSClientConfig:       cfg.TLS,
			TLSHandshakeTimeout:   5 * time.Second,
			ResponseHeaderTimeout: cfg.CallTimeout,
			IdleConnTimeout:       time.Minute,
			MaxIdleConnsPerHost:   2,
		},
		// Redirects are followed by hand: to decide about credentials.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for _, m := range cfg.Masters {
		u, err := memberURL(m, cfg.TLS)
		if err != nil {
			return nil, err
		}
		c.members = append(c.members, u)
	}
	if len(c.members) == 0 {
		return nil, errors.New("no masters are configured")
	}
	return c, nil
}

func memberURL(m string, tc *tls.Config) (*url.URL, error) {
	if !strings.Contains(m, "://") {
		scheme := "http://"
		if tc != nil {
			scheme = "https://"
		}
		m = scheme + m
	}
	u, err := url.Parse(m)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("master %q is neither host:port nor an http(s) URL", m)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

func (c *client) close() { c.http.CloseIdleConnections() }

// subscribe finds the leader and returns the answer to SUBSCRIBE. The caller
// closes its body.
func (c *client) subscribe(ctx context.Context) (*http.Response, error) {
	var failures []error
	for _, member := range c.order() {
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

// order is the members with the last leader first.
func (c *client) order() []*url.URL {
	if c.leader == nil {
		return c.members
	}
	order := []*url.URL{c.leader}
	for _, m := range c.members {
		if *m != *c.leader {
			order = append(order, m)
		}
	}
	return order
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
		return wireResponse{}, refused(leader, t, resp)
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
		next, moved := redirect(base, resp)
		err = refused(base, t, resp)
		resp.Body.Close()
		if !moved {
			return nil, nil, err
		}
		base = next
	}
	return nil, nil, fmt.Errorf("%s: more than %d redirects", base.Host, maxHops)
}

// redirect is where a standby sends its callers: "//host:port/api/v1", without
// a scheme (CLUSTER-API 3.1), so that of the request is kept.
func redirect(from *url.URL, resp *http.Response) (*url.URL, bool) {
	if resp.StatusCode != http.StatusTemporaryRedirect && resp.StatusCode != http.StatusPermanentRedirect {
		return nil, false
	}
	to, err := from.Parse(resp.Header.Get("Location"))
	if err != nil || to.Host == "" || to.Host == from.Host && to.Scheme == from.Scheme {
		return nil, false
	}
	return &url.URL{Scheme: to.Scheme, Host: to.Host}, true
}

func (c *client) post(ctx context.Context, base *url.URL, t master.Call_Type) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base.String()+"/api/v1", bytes.NewReader(c.cfg.Encoding.call(t)))
	if err != nil {
		return nil, fmt.Errorf("%v to %s: %w", t, base.Host, err)
	}
	req.Header.Set("Content-Type", c.cfg.Encoding.mediaType())
	req.Header.Set("Accept", c.cfg.Encoding.mediaType())
	if c.known(base) {
		switch {
		case c.cfg.Token != "":
			req.Header.Set("Authorization", "token="+c.cfg.Token)
		case c.cfg.User != "":
			req.SetBasicAuth(c.cfg.User, c.cfg.Password)
		}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%v to %s: %w", t, base.Host, err)
	}
	return resp, nil
}

// known says whether a master may be given the credentials: only one that the
// operator has named, with the scheme that they gave it.
func (c *client) known(base *url.URL) bool {
	for _, m := range c.members {
		if *m == *base {
			return true
		}
	}
	return false
}

// refused is the error for an answer other than 200.
func refused(base *url.URL, t master.Call_Type, resp *http.Response) error {
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // the status is the error; the text only helps
	return fmt.Errorf("%v to %s: %s: %s", t, base.Host, resp.Status, strings.ToValidUTF8(strings.TrimSpace(string(said)), "?"))
}
