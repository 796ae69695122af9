mod decide;
mod status;
