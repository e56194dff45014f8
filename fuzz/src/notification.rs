//! A message of the election port, as any version of ZooKeeper might send it: what is understood means the same when it is sent on.

use bytes::Bytes;
use ferrokeeper::proto::quorum::Notification;

pub fn run(data: &[u8]) {
    let message = Bytes::copy_from_slice(data);
    let notification = match Notification::decode(message) {
        Ok(notification) => notification,
        // The log line about it is one line.
        Err(e) => return assert!(!e.to_string().contains('\n')),
    };
    assert!(notification.config.len() + 28 <= data.len());
    if data.len() == 28 || data.len() == 40 {
        assert_eq!((notification.version, notification.config.len()), (0, 0));
    }
    let sent = notification.encode();
    assert_eq!(sent.len(), 44 + notification.config.len());
    let expected = Notification { version: Notification::VERSION, ..notification };
    assert_eq!(Notification::decode(sent), Ok(expected));
}
