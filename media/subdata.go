package media

// maxBuffered bounds what waits in a subscriber's data channel. A message that
// finds more is dropped and counted.
const maxBuffered = 128 << 10

// forwardDataLocked brings the data-channel messages of a publication to the
// subscriber, by a goroutine that ends with the binding. Until the channel is
// open they wait in the queue of the subscription.
func (s *Subscriber) forwardDataLocked(b *binding) {
	f := b.feed
	if !f.pub.Data {
		return
	}
	stop := make(chan struct{})
	messages := f.data.subscribe()
	started := s.run(func() {
		defer messages.Close()
		open := s.open
		var queue <-chan DataMessage
		for {
			select {
			case <-open:
				open, queue = nil, messages.C()
			case m := <-queue:
				s.sendData(m)
			case <-stop:
				return
			case <-s.closing:
				return
			case <-f.done:
				return
			}
		}
	})
	if !started {
		messages.Close()
		return
	}
	b.stop = stop
}

func (s *Subscriber) sendData(m DataMessage) {
	if s.channel.BufferedAmount()+uint64(len(m.Data)) > maxBuffered {
		s.e.metrics.dataDropped()
		return
	}
	var err error
	if m.Text {
		err = s.channel.SendText(string(m.Data))
	} else {
		err = s.channel.Send(m.Data)
	}
	if err != nil {
		s.e.metrics.dataDropped() // the channel is closed, or about to be
	}
}
