package ha

import (
	"net"
	"sync"
	"testing"
)

// proxy is a network between a client and a server that can be cut, both ways
// or one: nothing goes through any more, and nobody is told. What was under way
// arrives when it is mended, as TCP would have it.
type proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	open  [2]chan struct{} // by way, closed while it works
	conns map[net.Conn]struct{}
	work  sync.WaitGroup
}

// The ways through a proxy.
const (
	toServer = iota
	toClient
)

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target, conns: map[net.Conn]struct{}{}}
	for way := range p.open {
		p.open[way] = make(chan struct{})
		close(p.open[way])
	}
	p.work.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *proxy) cut(ways ...int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, way := range ways {
		p.open[way] = make(chan struct{})
	}
}

func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, open := range p.open {
		select {
		case <-open:
		default:
			close(open)
		}
	}
}

// whole waits while a way is cut.
func (p *proxy) whole(way int) {
	p.mu.Lock()
	open := p.open[way]
	p.mu.Unlock()
	<-open
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.work.Go(func() {
			p.whole(toServer)
			server, err := net.Dial("tcp", p.target)
			if err != nil {
				client.Close() //nolint:errcheck // nothing was sent
				return
			}
			p.keep(client, server)
			p.work.Go(func() { p.pipe(client, server, toClient) })
			p.pipe(server, client, toServer)
		})
	}
}

func (p *proxy) keep(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
}

func (p *proxy) pipe(to, from net.Conn, way int) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.whole(way)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	p.drop(to, from)
}

func (p *proxy) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		c.Close() //nolint:errcheck // it has ended
		delete(p.conns, c)
	}
}

func (p *proxy) close() {
	p.mend()
	p.listener.Close() //nolint:errcheck // it only ends the accepting
	p.mu.Lock()
	var all []net.Conn
	for c := range p.conns {
		all = append(all, c)
	}
	p.mu.Unlock()
	p.drop(all...)
	p.work.Wait()
}
