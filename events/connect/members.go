package connect

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// ErrNoMembers means that no servers are configured; ErrUserInURL that the
// address of one holds a user or a password.
var (
	ErrNoMembers = errors.New("no servers are configured")
	ErrUserInURL = errors.New("an address must not hold a user or a password: they have settings of their own")
)

// Credentials are sent to members: User and Password as HTTP Basic or, if it
// is set, Token as "Authorization: token=…", which DC/OS's proxies take.
type Credentials struct {
	User, Password, Token string
}

// members are the servers that the operator has named.
type members struct {
	urls []*url.URL
	cred Credentials
}

// parseMembers reads servers given as "host:port", or as URLs of no more
// than scheme and host. The scheme of one without is https if secure. A URL that
// holds a password is refused, and not repeated in the error: what is on a
// command line is read by others, and credentials go to all members alike.
func parseMembers(servers []string, secure bool, cred Credentials) (*members, error) {
	m := &members{cred: cred}
	for i, s := range servers {
		if strings.Contains(s, "@") {
			return nil, fmt.Errorf("server %d: %w", i+1, ErrUserInURL)
		}
		given := s
		if !strings.Contains(s, "://") {
			if s = "http://" + s; secure {
				s = "https://" + given
			}
		}
		u, err := url.Parse(s)
		if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("server %q is neither host:port nor an http(s) URL", given)
		}
		if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("server %q has more than a host and a port: name the server itself, as %s, not a proxy's path to it", given, server(u))
		}
		m.urls = append(m.urls, server(u))
	}
	if len(m.urls) == 0 {
		return nil, ErrNoMembers
	}
	return m, nil
}

// server is the scheme and host of a URL in the one spelling by which servers
// are told apart: host names in lower case without the root's dot, addresses
// in their shortest form, no port that is the scheme's own. A master spells
// its name as its --hostname does, an operator as he likes.
func server(u *url.URL) *url.URL {
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if a, err := netip.ParseAddr(host); err == nil {
		host = a.Unmap().String()
	}
	switch port := u.Port(); {
	case port != "" && port != map[string]string{"http": "80", "https": "443"}[u.Scheme]:
		host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	return &url.URL{Scheme: u.Scheme, Host: host}
}

// from is all members in the order in which to try them: first, if it is not
// nil, the one that led last; at the end the one that just failed, if any.
func (m *members) from(led, failed *url.URL) []*url.URL {
	var order, last []*url.URL
	if led != nil {
		order = append(order, led)
	}
	for _, u := range m.urls {
		switch {
		case led != nil && *u == *led:
		case failed != nil && *u == *failed:
			last = append(last, u)
		default:
			order = append(order, u)
		}
	}
	return append(order, last...)
}

// known reports whether a server is one that the operator has named, by the
// scheme that they gave it: a member named with https gets no credentials
// over http.
func (m *members) known(u *url.URL) bool {
	at := *server(u)
	return slices.ContainsFunc(m.urls, func(k *url.URL) bool { return *k == at })
}

// authorize gives a request the credentials, if it goes to a known member.
func (m *members) authorize(req *http.Request) {
	switch {
	case !m.known(req.URL):
	case m.cred.Token != "":
		req.Header.Set("Authorization", "token="+m.cred.Token)
	case m.cred.User != "":
		req.SetBasicAuth(m.cred.User, m.cred.Password)
	}
}

// withheld reports whether there are credentials that a server was not given.
func (m *members) withheld(u *url.URL) bool {
	return (m.cred.Token != "" || m.cred.User != "") && !m.known(u)
}
