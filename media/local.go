package media

// Local is a publication of this node as relay serves it to other nodes.
type Local struct {
	f *feed
}

// Publication describes it.
func (l *Local) Publication() Publication { return l.f.pub }

// Done is closed when the publication has ended; Err then says why.
func (l *Local) Done() <-chan struct{} { return l.f.done }

// Err is nil before Done.
func (l *Local) Err() error { return l.f.cause() }

// Attach sends the packets of a layer to the sink, from now on until the
// attachment is closed. It fails with ErrNotFound when there is no such layer.
func (l *Local) Attach(track, layer uint8, sink Sink) (*Attachment, error) {
	return l.f.attach(track, layer, sink)
}

// SubscribeData brings the publisher's data-channel messages from now on.
func (l *Local) SubscribeData() *DataSubscription { return l.f.data.subscribe() }
