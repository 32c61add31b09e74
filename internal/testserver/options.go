package testserver

import "github.com/nats-io/nats-server/v2/server"

// Option changes how a server is set up. Options are applied in order, at
// every start and restart anew.
type Option func(*server.Options)

// SyncAlways has JetStream sync every write to disk before it acknowledges it.
// By default it syncs every two minutes.
func SyncAlways() Option {
	return func(o *server.Options) { o.SyncAlways = true }
}

// MaxPayload limits the size of a message, headers and body together, in
// bytes. The default is nats-server's, 1 MiB.
func MaxPayload(bytes int32) Option {
	return func(o *server.Options) { o.MaxPayload = bytes }
}

// WithServerOptions gives change the server's options as they stand, for what
// has no option here. Name, ports, routes and store directory are not open to
// it: they are set afterwards.
func WithServerOptions(change func(*server.Options)) Option {
	return change
}

// options are made anew for every start, because a server writes into its own.
func (s *Server) options() *server.Options {
	o := &server.Options{
		Host:      host,
		JetStream: true,
		NoLog:     true,
		NoSigs:    true,
	}
	for _, opt := range s.opts {
		opt(o)
	}
	o.ServerName = s.name
	o.Port = s.port
	o.StoreDir = s.dir
	if m := s.cluster; m != nil {
		o.Cluster.Name = m.cluster
		o.Cluster.Host = host
		o.Cluster.Port = m.port
		o.Routes = m.routes
	}
	return o
}
