// Command peer is a workload for tests: it answers every line of a TCP
// connection and every UDP datagram with its own name and the caller's
// address as it sees it, so that a client learns whom it reached and whether
// its address was translated on the way.
//
//	peer --tcp 8080,8081 --udp 5353 [--name web]
//
// The name is MESOS_TASK_ID unless given. It ends on SIGTERM.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/taskwall/taskwall/e2e/socket"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run() error {
	tcp := flag.String("tcp", "", "comma-separated TCP ports to answer on")
	udp := flag.String("udp", "", "comma-separated UDP ports to answer on")
	name := flag.String("name", os.Getenv("MESOS_TASK_ID"), "what to call itself")
	flag.Parse()
	if *name == "" {
		*name, _ = os.Hostname()
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, port := range ports(*tcp) {
		l, err := net.Listen("tcp", ":"+port)
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { l.Close() })
		wg.Go(func() { serveTCP(ctx, l, *name) })
	}
	for _, port := range ports(*udp) {
		c, err := net.ListenPacket("udp", ":"+port)
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { c.Close() })
		if err := socket.Roomy(c.(*net.UDPConn)); err != nil {
			return err
		}
		wg.Go(func() { serveUDP(c, *name) })
	}
	<-ctx.Done()
	return nil
}

func ports(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func serveTCP(ctx context.Context, l net.Listener, name string) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		go func() { // ends with its connection, at the latest with the process
			defer context.AfterFunc(ctx, func() { c.Close() })()
			defer c.Close()
			answer := []byte(name + " " + host(c.RemoteAddr()) + "\n")
			for s := bufio.NewScanner(c); s.Scan(); {
				if _, err := c.Write(answer); err != nil {
					return
				}
			}
		}()
	}
}

func serveUDP(c net.PacketConn, name string) {
	buf := make([]byte, 2048)
	for {
		_, from, err := c.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = c.WriteTo([]byte(name+" "+host(from)+"\n"), from)
		}
	}
}

func host(a net.Addr) string {
	h, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return h
}
