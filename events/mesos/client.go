package mesos

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/events/connect"
)

// client speaks to the leading master.
type client struct {
	*connect.Client
	cfg *Config
}

func newClient(cfg *Config) (*client, error) {
	c, err := connect.NewClient(connect.Config{
		Servers: cfg.Masters, TLS: cfg.TLS, Patience: cfg.CallTimeout, Dial: cfg.Dial,
		Credentials: connect.Credentials{User: cfg.User, Password: cfg.Password, Token: cfg.Token},
	})
	return &client{c, cfg}, err
}

// subscribe finds the leader, and returns the answer to SUBSCRIBE and who gave
// it. The caller closes its body.
func (c *client) subscribe(ctx context.Context) (*http.Response, *url.URL, error) {
	return c.Find(ctx, func(ctx context.Context, base *url.URL) (*http.Response, error) {
		return c.post(ctx, base, master.Call_SUBSCRIBE)
	})
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
		return wireResponse{}, fmt.Errorf("%v: %w", t, c.Refused(resp))
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

func (c *client) post(ctx context.Context, base *url.URL, t master.Call_Type) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base.String()+"/api/v1", bytes.NewReader(c.cfg.Encoding.call(t)))
	if err != nil {
		return nil, fmt.Errorf("%v to %s: %w", t, base.Host, err)
	}
	req.Header.Set("Content-Type", c.cfg.Encoding.mediaType())
	req.Header.Set("Accept", c.cfg.Encoding.mediaType())
	resp, err := c.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%v to %s: %w", t, base.Host, err)
	}
	return resp, nil
}
