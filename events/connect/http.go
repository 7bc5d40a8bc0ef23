package connect

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Dialer makes connections, as net.Dialer does.
type Dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// newHTTP returns a client that follows no redirect, uses no proxy and
// shares nothing with others. patience bounds the wait for an answer's
// headers, not for its body. dial may be nil.
func newHTTP(tc *tls.Config, patience time.Duration, dial Dialer) *http.Client {
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

// redirect is the server that an answer sends its caller to. A Location
// without a scheme keeps the request's (Mesos: "//host:port/api/v1").
func redirect(resp *http.Response) (*url.URL, bool) {
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
