//! The REST server of the MEC and the cloud.
