package connect

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Dialer makes connections, as net.Dialer does.
type Dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// NewClient returns a client that follows no redirect, uses no proxy and
// shares nothing with others. patience bounds the wait for an answer's
// headers, not for its body. dial may be nil.
func NewClient(tc *tls.Config, patience time.Duration, dial Dialer) *http.Client {
	if dial == nil {
		dial = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:           dial,
			TLSClientConfig:       tc,
			TLSHandshakeTimeout:   5 * time.Second,
			ResponseHeaderTimeout: patience,
			IdleConnTimeout:       time.Minute,
			MaxIdleConnsPerHost:   2,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Redirect is the server that an answer sends its caller to. A Location
// without a scheme keeps the request's (Mesos: "//host:port/api/v1").
func Redirect(resp *http.Response) (*url.URL, bool) {
	switch resp.StatusCode {
	case http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, false
	}
	to, err := resp.Location()
	if err != nil || to.Hostname() == "" || to.Scheme != "http" && to.Scheme != "https" {
		return nil, false
	}
	return server(to), true
}

// Refused is the error for an answer that is not what was asked for. The
// caller closes its body.
func (m *Members) Refused(resp *http.Response) error {
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // the status is the error; the text only helps
	text := strings.ToValidUTF8(strings.TrimSpace(string(said)), "?")
	if text != "" {
		text = ": " + text
	}
	u := resp.Request.URL
	if resp.StatusCode == http.StatusUnauthorized && m.withheld(u) {
		text += fmt.Sprintf(" (it was not given the credentials, because %s://%s is not among the configured servers)", u.Scheme, u.Host)
	}
	return fmt.Errorf("%s says %s%s", u.Host, resp.Status, text)
}
